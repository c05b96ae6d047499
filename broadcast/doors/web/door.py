"""The web door as a whole: its parts, connected."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address

from broadcast.core.limits import SERVER_FULL
from broadcast.doors.web import login
from broadcast.doors.web.connection import HttpFactory
from broadcast.doors.web.http import plain_response
from broadcast.doors.web.origins import Origins, TrustedProxies
from broadcast.doors.web.page_address import PageAddress, PageListener
from broadcast.doors.web.site import WEBSOCKET, Site
from broadcast.doors.web.static import INDEX, load_files, make_file
from broadcast.doors.web.websocket import websocket_handler

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IReactorTime

    from broadcast.core.hub import Hub
    from broadcast.core.time_slice import CallSoon
    from broadcast.doors.jsonrpc.protocol import DoorContext
    from broadcast.net.endpoints import Listener
    from broadcast.net.writers import StreamTransport, Writer

_PAGE: Final = Path(__file__).with_name("page")
_LOGIN_LINK: Final = b'href="login" hidden>Log in</a>'
"""The end of the link in the page that is shown if there is a provider."""


class WebSettings(NamedTuple):
    """The operator's settings for the page."""

    path: str = ""
    """Path of the page without the slash at its end."""
    url: str | None = None
    """Address of the page for people; None for the name of this machine and the port."""
    origins: tuple[str, ...] = ()
    """Origins of other pages that may use the server, and other names of this server."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks of the trusted proxies, or ``unix`` for all clients of unix sockets."""
    has_hsts: bool = False
    """Whether replies over https forbid plain HTTP for this host."""


class WebDoor:
    """The web door. *machine* is the name of this machine; see ``HttpFactory`` for the other arguments."""

    full = plain_response(503, SERVER_FULL)
    """The reply to a client for which there is no file descriptor."""
    no_tls = plain_response(400, "This port speaks https: write https:// before the address of the page.")
    """The reply to a client that speaks plain HTTP to a port with TLS."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of the server that a door uses
        self,
        programs: DoorContext,
        hub: Hub,
        clock: IReactorTime,
        call_soon: CallSoon,
        wall_clock: Callable[[], float],
        writer_for: Callable[[StreamTransport], Writer],
        settings: WebSettings,
        machine: str,
    ) -> None:
        self.address = PageAddress(settings.url, settings.path, machine)
        origins = (*settings.origins, self.address.origin) if settings.url else settings.origins
        files = load_files(_PAGE)
        self._index = files["/"]
        self.site = Site(
            files,
            Origins(origins, machine),
            hub.check_address,
            hub.rejections,
            clock,
            settings.path,
        )
        self.site.routes |= {WEBSOCKET: websocket_handler(programs), login.LOGOUT: login.logout_handler(hub)}
        self.factory = HttpFactory(
            self.site.handle,
            self.site.refuse,
            programs.connections,
            clock,
            call_soon,
            wall_clock,
            writer_for,
            TrustedProxies(settings.proxies),
            settings.has_hsts,
        )

        self.factory.describe_port = self.describe_port
        self._line_port: int | None = None
        """The first port for telnet, if it has a number."""

    def add_line_port(self, port: IListeningPort) -> None:
        """Learn where people with telnet can connect."""
        address = port.getHost()
        if self._line_port is None and isinstance(address, IPv4Address | IPv6Address):
            self._line_port = address.port

    def describe_port(self) -> str:
        """Return a text for people who have connected to the port of the page with telnet, for example."""
        page = f": {self.address.url} is the page" if self.address.url else ""
        where = "another port" if self._line_port is None else f"port {self._line_port}"
        return f"This port is for browsers{page}. telnet and nc connect to {where} of this server."

    def offer_login(self, pages: login.LoginPages, provider: str) -> None:
        """Let people log in through *pages*. The page shows a link with the name of the *provider*."""
        link = f'href="login">Log in with {escape(provider)}</a>'.encode()
        index = make_file(self._index.content.replace(_LOGIN_LINK, link), self._index.headers)
        routes = {login.BEGIN: pages.begin, login.CALLBACK: pages.finish, login.RESULT: pages.show_result}
        self.site.routes |= {"/": index.handle, f"/{INDEX}": index.handle, **routes}

    def serve_at(self, listener: Listener, scheme: str) -> PageListener:
        """Return *listener* for the page. Its line in the log shows the address of the page."""
        return PageListener(listener, self.address, scheme)
