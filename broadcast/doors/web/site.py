"""The paths of the web door, and the checks that hold for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broadcast.doors.web.http import respond_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broadcast.doors.web.http import Handler, Reply, Request


class Site:
    """The handlers of all paths.

    *routes* has the handler of each path, without ``--web-path``. A path that ends with a slash stands for all paths
    below it, except for ``/`` itself. The WebSocket is at ``/ws``, files are below ``/files/``, uploads below
    ``/upload/``.
    """

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._routes = dict(routes)

    def handle(self, request: Request, reply: Reply) -> None:
        """Reply to *request*."""
        handler = self._routes.get(request.path) or self._routes.get(_parent(request.path))
        if handler is None:
            respond_text(reply, 404, "There is nothing here.")
        else:
            handler(request, reply)


def _parent(path: str) -> str:
    """Return the first folder of *path*, with both slashes: ``/files/`` for ``/files/a/b``. Empty if there is none."""
    first, slash, _rest = path[1:].partition("/")
    return f"/{first}/" if slash else ""
