"""The paths of the web door, and the checks that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from broadcast.core.errors import Banned
from broadcast.core.sanitize import sanitize
from broadcast.doors.web.http import respond_text
from broadcast.doors.web.websocket import refuse_websocket
from broadcast.net.connection_log import RejectionLog

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from broadcast.core.errors import RejectedError
    from broadcast.core.stats import Rejection
    from broadcast.doors.web.http import Handler, Reply, Request
    from broadcast.doors.web.origins import Origins
    from broadcast.doors.web.static import StaticFile

WEBSOCKET: Final = "/ws"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods of requests that change nothing (RFC 9110, section 9.2.1), so that any page may send them."""
MAX_SHOWN_CHARS: Final = 100
"""Maximum length of a name from a request in a reply or in the log."""
RETRY_SECONDS: Final = b"10"
"""Time after which a client of a full server tries again, in seconds."""


class Site:
    """The handlers of all paths.

    *files* are the files of the page. *prefix*, the path of ``--web-path``, is not part of their paths. *check_address*
    raises ``Banned`` for a banned IP address. *rejections* counts refused connections.
    """

    _log = Logger()

    def __init__(
        self,
        files: Mapping[str, StaticFile],
        origins: Origins,
        check_address: Callable[[str | None], None],
        rejections: dict[Rejection, int],
        clock: IReactorTime,
        prefix: str = "",
    ) -> None:
        self.routes: dict[str, Handler] = {path: file.handle for path, file in files.items()}
        """The handler of each path. A path that ends with a slash stands for all below it, except for ``/`` itself."""
        self._origins = origins
        self._check_address = check_address
        self._rejections = rejections
        self._prefix = prefix
        self._refusal_log = RejectionLog(clock, self._log.info, "Requests refused: {count}, the last one: {why}")

    def handle(self, request: Request, reply: Reply) -> None:
        """Reply to *request*."""
        prefix = self._prefix
        if not request.path.startswith(f"{prefix}/"):
            if request.path == prefix:
                respond_text(reply, 308, f"The page is at {prefix}/.", ((b"Location", f"{prefix}/".encode()),))
            else:
                respond_text(reply, 404, f"There is nothing at this address. The page is at {prefix}/.")
            return
        if prefix:
            request = replace(request, path=request.path.removeprefix(prefix))
        if not (self._has_own_host(request, reply) and self._has_own_origin(request, reply)):
            return
        try:
            self._check_address(request.source.address)
        except Banned as error:
            self.refuse(request, reply, error)
            return
        handler = self.routes.get(request.path) or self.routes.get(_first_folder(request.path))
        if handler is None:
            respond_text(reply, 404, f"There is nothing at this address. The page is at {prefix}/.")
        else:
            handler(request, reply)

    def _has_own_host(self, request: Request, reply: Reply) -> bool:
        """Return whether *request* names this server, and reply if not. Old programs name no server."""
        host = request.headers.get(b"host", b"").decode("latin-1")
        if not host or self._origins.is_host_allowed(host):
            return True
        shown = sanitize(host[:MAX_SHOWN_CHARS])
        self._refuse_page(
            reply, 421, f"This server does not answer to the name {shown}. Its operator can add it with --web-origin."
        )
        return False

    def _has_own_origin(self, request: Request, reply: Reply) -> bool:
        """Return whether the page that sends *request* may do so, and reply if not. Programs name no page."""
        origin = request.headers.get(b"origin")
        if origin is None or (request.method in SAFE_METHODS and request.path != WEBSOCKET):
            return True
        host = request.headers.get(b"host", b"").decode("latin-1")
        page = origin.decode("latin-1")
        if self._origins.is_origin_allowed(page, host, request.is_secure):
            return True
        shown = sanitize(page[:MAX_SHOWN_CHARS])
        self._refuse_page(
            reply, 403, f"Pages of {shown} may not use this server. Its operator can allow it with --web-origin."
        )
        return False

    def _refuse_page(self, reply: Reply, status: int, text: str) -> None:
        self._refusal_log.record(text)
        respond_text(reply, status, text)

    def refuse(self, request: Request, reply: Reply, error: RejectedError) -> None:
        """Reply to *request* on a connection that the server refuses because of *error*."""
        self._rejections[error.kind] += 1
        reason = str(error)
        reason = reason[:1].upper() + reason[1:]
        if request.path == self._prefix + WEBSOCKET:
            refuse_websocket(request, reply, error)
        elif isinstance(error, Banned):
            respond_text(reply, 403, reason)
        else:
            respond_text(reply, 503, reason, ((b"Retry-After", RETRY_SECONDS),))


def _first_folder(path: str) -> str:
    """Return the first folder of *path*, with both slashes: ``/files/`` for ``/files/a/b``. Empty if there is none."""
    first, slash, _rest = path[1:].partition("/")
    return f"/{first}/" if slash else ""
