"""The admin socket: a unix socket in the data folder, at which ``broadcast-admin`` asks the server for changes.

On a system without unix sockets, a port of the loopback interface takes its place (see ``admin_access``).
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from broadcast.core.sanitize import sanitize
from broadcast.net.endpoints import close_now
from broadcast.net.unix_sockets import own_user, peer_user, unix_socket
from broadcast.server.admin_access import PORT_FILE, AdminAccess
from broadcast.server.administration import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    MAX_REQUEST_BYTES,
    REJECTED,
    SOCKET,
    Administration,
    encode_error,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

MAX_CONNECTIONS: Final = 16
"""Maximum number of open connections. Those above it are closed at once."""
REQUEST_SECONDS: Final = 30.0
"""Time for the request of a connection."""
ANSWER_SECONDS: Final = 120.0
"""Time for the answer. The threads that hash passwords have a low priority, so they are slow on a busy machine."""


class AdminConnection(Protocol):
    """A connection, which carries one request and its answer."""

    def __init__(self, owner: AdminSocket) -> None:
        self._owner = owner
        self._buffer = bytearray()
        self._is_handled = False
        """True from the end of the request on. The rest of the input is ignored."""
        self._timer: IDelayedCall | None = None

    @property
    def stream(self) -> Any:  # noqa: ANN401 - no interface has all methods of this transport
        """The transport."""
        return self.transport

    def connectionMade(self) -> None:
        """Reject processes of other users, and too many connections."""
        self._owner.connections.add(self)
        self._timer = self._owner.reactor.callLater(REQUEST_SECONDS, self.stream.abortConnection)
        problem = self._owner.find_problem(self.stream.getHandle())
        if problem:
            self._answer(encode_error(REJECTED, problem))

    def dataReceived(self, data: bytes) -> None:
        """Handle the first line."""
        if self._is_handled:
            return
        self._buffer += data
        line, end, _rest = bytes(self._buffer).partition(b"\n")
        if len(line) > MAX_REQUEST_BYTES:
            self._answer(encode_error(INVALID_REQUEST, f"A request has at most {MAX_REQUEST_BYTES} bytes."))
        elif end:
            self._is_handled = True
            self._buffer.clear()
            if self._timer is not None:
                self._timer.reset(ANSWER_SECONDS)
            try:
                self._owner.administration.handle(line, self._answer)
            except Exception:  # noqa: BLE001 - the administrator must learn of it, and the server must go on
                self._owner.log.failure("A request of the administrator failed")
                self._answer(encode_error(INTERNAL_ERROR, "The server has a bug: its log says more."))

    def _answer(self, answer: bytes) -> None:
        """Send *answer*, then close the connection. Do nothing if it is lost."""
        self._is_handled = True
        self._buffer.clear()
        if self in self._owner.connections:
            self.stream.write(answer)
            self.stream.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted passes it
        """Forget the connection. A change that was begun is completed."""
        self._owner.connections.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class AdminSocket(Factory):
    """The socket in *folder*, which is that of the journal. *administration* carries out the requests.

    *reactor* provides ``listenUNIX`` and ``callLater``. Without the socket, the server runs all the same.
    """

    noisy = False
    log = Logger()
    file_name = SOCKET

    def __init__(self, folder: Path, administration: Administration, reactor: Any) -> None:  # noqa: ANN401 - as above
        self.administration = administration
        self.reactor = reactor
        self.connections: set[AdminConnection] = set()
        """The open connections."""
        self._folder = folder.absolute()  # a daemon changes its working directory
        self._port: Any = None  # no interface has its socket

    def buildProtocol(self, addr: object) -> AdminConnection:  # noqa: ARG002 - all connections have one
        """Return the protocol of a new connection."""
        return AdminConnection(self)

    def find_problem(self, handle: socket.socket) -> str:
        """Return why the new connection *handle*, which is among ``connections``, is rejected, or an empty text."""
        problem = self.find_problem_of_user(handle)
        if not problem and len(self.connections) > MAX_CONNECTIONS:
            problem = f"The admin socket has {MAX_CONNECTIONS} connections, which is its limit: try again."
        return problem

    def find_problem_of_user(self, handle: socket.socket) -> str:
        """Return why the user at the other end of *handle* is rejected, or an empty text."""
        user = peer_user(handle)
        if user not in {0, own_user()}:
            self.log.warn("The admin socket has rejected a process of the user {user}.", user=user)
            return "Only the user of the server may do this, or root."
        return ""

    def start(self) -> None:
        """Listen. Called once the journal is open, so that no other server uses the folder."""
        self._warn_of_access()
        try:
            self._port = self.listen(self.path)
        except (CannotListenError, OSError) as error:
            why = error.socketError if isinstance(error, CannotListenError) else error
            self.log.error(  # noqa: TRY400 - Twisted's logger; the reason is enough
                "Accounts can only be changed while the server does not run: {path} cannot be created ({why}).",
                path=sanitize(str(self.path)),
                why=getattr(why, "strerror", None) or str(why),
            )

    @property
    def path(self) -> Path:
        """The file in the data folder by which ``broadcast-admin`` finds the server."""
        return self._folder / self.file_name

    def listen(self, path: Path) -> Any:  # noqa: ANN401 - as above
        """Listen at *path*, and return the port. Raises ``CannotListenError`` or ``OSError``."""
        _remove_stale_socket(path)
        before = os.umask(0o177)
        try:
            return self.reactor.listenUNIX(os.fspath(path), self, mode=0o600)
        finally:
            os.umask(before)

    def stop(self) -> None:
        """Stop listening, remove the socket, and close the connections."""
        port, self._port = self._port, None
        if port is not None:
            try:
                close_now([port])
            except OSError:  # somebody has removed the file of the socket
                port.socket.close()
        for connection in list(self.connections):
            connection.stream.loseConnection()

    def _warn_of_access(self) -> None:
        """Log that other users can read or change the folder. The server changes no permissions that it has not set."""
        try:
            status = self._folder.stat()
        except OSError:
            return  # the journal reports it
        mode = stat.S_IMODE(status.st_mode)
        if os.name == "posix" and mode & 0o077:
            self.log.warn(
                "Other users may get into {folder} (mode {mode:04o}), which holds messages and hashes of passwords: "
                "run chmod 700 {folder}.",
                folder=sanitize(str(self._folder)),
                mode=mode,
            )
        if os.name == "posix" and status.st_uid != own_user():
            self.log.warn(
                "{folder} belongs to another user ({owner}), who can read and replace all that is in it.",
                folder=sanitize(str(self._folder)),
                owner=status.st_uid,
            )


class AdminPortConnection(AdminConnection):
    """A connection to the port of *access*. Its first line is the client's secret, the second one the request."""

    def __init__(self, owner: AdminPort, access: AdminAccess) -> None:
        super().__init__(owner)
        self._access: AdminAccess | None = access
        """None once the client has sent its secret."""

    def dataReceived(self, data: bytes) -> None:
        """Answer the client's secret with the server's, then handle the request. Reject any other first line."""
        access = self._access
        if access is None or self._is_handled:
            super().dataReceived(data)
            return
        self._buffer += data
        line, end, rest = bytes(self._buffer).partition(b"\n")
        if end and compare_digest(line, access.client_secret):
            self._access = None
            self._buffer.clear()
            self.stream.write(access.server_secret + b"\n")
            super().dataReceived(rest)
        elif end or len(line) > len(access.client_secret):  # a line that is too long is wrong, whatever follows
            self._answer(encode_error(REJECTED, f"This is not the secret in {PORT_FILE}."))


class AdminPort(AdminSocket):
    """The port of the loopback interface that takes the place of the socket. *reactor* provides ``listenTCP``."""

    file_name = PORT_FILE
    _access: AdminAccess
    """The content of the file, once the port listens."""

    def buildProtocol(self, addr: object) -> AdminPortConnection:  # noqa: ARG002 - as above
        """Return the protocol of a new connection."""
        return AdminPortConnection(self, self._access)

    def find_problem_of_user(self, handle: socket.socket) -> str:  # noqa: ARG002 - the system does not tell the user
        """Return an empty text: the first line of the connection decides."""
        return ""

    def listen(self, path: Path) -> Any:  # noqa: ANN401 - as above
        """Listen on a free port, write the file *path*, and return the port. Raises the errors of the base class."""
        _remove_stale_file(path)
        port = self.reactor.listenTCP(0, self, interface="127.0.0.1")  # it accepts nothing in this turn of the reactor
        try:
            self._access = AdminAccess(port.getHost().port)
            self._access.write(path)
        except OSError:
            close_now([port])
            raise
        return port

    def stop(self) -> None:
        """Stop listening, remove the file, and close the connections."""
        if self._port is not None:
            with suppress(OSError):
                self.path.unlink()
        super().stop()


def _remove_stale_file(path: Path) -> None:
    """Remove the file *path* that a killed server has left. Raises ``OSError`` if it is another file."""
    with suppress(FileNotFoundError):
        try:
            AdminAccess.read(path)
        except ValueError:
            raise FileExistsError(None, "it is not the file of a server: move it away") from None
        path.unlink()


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket *path* that a killed server has left. Raises ``OSError`` if no socket can be made there."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(None, "it is not a socket: move it away")
    # This also fails if the path is too long. Twisted would leave its socket open then.
    with unix_socket() as probe, suppress(FileNotFoundError):
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        raise FileExistsError(None, "another program listens there")
