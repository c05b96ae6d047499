"""A session of the program protocol, over as many connections as it takes.

The states of a session, for each connection::

    OFFLINE ── connection_made ──> GREETING ── the answer to hello ──> ONLINE
       ^                              │                                  │
       └────── connection_lost ───────┴──────────────────────────────────┘
    any state ── a failure that another attempt cannot repair, or quit ──> ENDED

- A call is a request that the program waits for. It stays until it is answered, and is sent again on the next
  connection in the old order. Repetition changes nothing: lines and private messages have a ``uid``, other requests
  set or read a state of this session. A topic is not repeated, because it may overwrite a newer one, and neither is a
  request about the account.
- A line is given to the program only if its number follows that of the line before. Otherwise it is read from the
  server's history later (see ``RoomStream``). So each line comes once and in order, whatever happens to connections.
- The session uses neither a clock nor a socket. Delays and time-outs are numbers that the caller obeys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from random import Random
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from broadcast.client.protocol import errors, events, framing, requests
from broadcast.client.protocol.events import Event
from broadcast.client.protocol.inbox import MAX_EVENTS, Inbox, RoomStream

GREETING_SECONDS: Final = 30.0
SILENCE_SECONDS: Final = 100.0
"""A connection that brings nothing for so long is lost: the server sends a ``ping`` after 60 s."""


class State(Enum):
    """The state of a session, as above."""

    OFFLINE = "offline"
    GREETING = "greeting"
    ONLINE = "online"
    ENDED = "ended"


def backoff(failures: int, longest: float, jitter: float) -> float:
    """Return the delay after *failures* in a row, at least one, in seconds.

    Its maximum doubles with each failure, from 1 second to *longest*. *jitter*, a random number from 0 to 1, is the
    part of it that counts. So clients that lost their connection together do not come back together.
    """
    return jitter * min(longest, 2.0 ** min(failures - 1, 30))


@dataclass(slots=True)
class _Call:
    """A request that is not answered yet."""

    request: requests.Request[Any]
    data: bytes
    on_end: requests.OnEnd
    reads_missing: bool = False
    """Whether the session has made the call by itself, to read missing lines of a room."""
    was_sent: bool = False
    is_repeated: bool = False
    """Whether it is sent on another connection once more. It may have taken effect before."""


class Session:
    """A session. One thread calls its methods."""

    def __init__(  # noqa: PLR0913 -- each is a property of the session
        self,
        nick: str,
        rooms: Sequence[str] | None,
        random: Random,
        *,
        replay: int | None = 0,
        resume: requests.Resume | None = None,
        grace: float | None = None,
        password: str = "",
        private: bool = True,
        client: str = "broadcast.client/1",
        max_events: int = MAX_EVENTS,
        longest_pause: float = 30.0,
    ) -> None:
        """Make a session that joins *rooms* as *nick*, or the server's first room for None.

        Each room begins with the *replay* last lines, or with the server's default number of lines for None. With
        *resume*, the session begins where an earlier one has ended. The server holds a session without a connection
        for *grace* seconds, or for its default time. *password* is that of a registered nickname. Without *private*,
        private messages that wait for the account stay at the server. *random* makes uids and varies delays.
        """
        self.nick = nick
        """The own nickname. Between two connections, the caller may set the one for the next attempt."""
        self.state = State.OFFLINE
        self.welcome: requests.Welcome | None = None
        self.ended: errors.ChatError | None = None
        """The error of all later calls, or None until the session is over."""
        self.has_quit = False
        self.must_close = False
        self.has_fallback = False
        """Whether the session enters the server's first room if a reconnect is refused because of its last room."""
        self.retry_after = 0.0
        self.asks_password = False
        """Whether the caller calls ``enter_password`` when there is a ``password_refusal``."""
        self.account: str | None = None
        """The registered nickname of the account to which the session is logged in, or None."""
        self.password_refusal: errors.Rejected | None = None
        """The reason why the next attempt to connect needs another password, or None."""
        self._password = password
        """The password for the next ``hello``: that of the account, or one that the program has given."""
        self._rooms_to_join: list[str] | UnsetType | None = UNSET if rooms is None else list(rooms)
        self._client = client
        self._grace = grace
        self._private = private
        self._random = random
        self._replay = replay
        self._longest_pause = longest_pause
        self._uid_prefix = f"{random.getrandbits(128):032x}"
        self._own_sessions: set[str] = set()
        self._began = 0.0
        """The server's time at the answer to the first ``hello``."""
        self._token = resume.token if resume else ""
        self._journal = resume.journal if resume else ""
        self._attempt = resume.attempt if resume else 0
        self._away: str | None = None
        self._calls: dict[int, _Call] = {}
        self._hello: int | None = None
        self._last_call = self._last_uid = 0
        self._inbox = Inbox(self._ask, max_events)
        if resume:
            self._inbox.told = self._inbox.told_taken = resume.told
            self._inbox.streams.update({name: RoomStream(name, seen) for name, seen in resume.rooms.items()})
        self._out: list[bytes] = []
        self._lines = framing.LineReader()
        self._goodbye: events.Goodbye | None = None
        self._failures = 0
        self._close_reason = ""
        self._nick_refusal = ""
        self._retry_after = 0.0
        """The delay for which the server has asked when it refused ``hello``, in seconds."""

    # For the program

    def call(self, request: requests.Request[Any], on_end: requests.OnEnd) -> int:
        """Send a request, now or after the next ``hello``. Return the number of the call, for ``forget``.

        *on_end* is called later, while the session receives the answer, or ends.

        Lines and private messages without a uid get one. Raise the reason if the session is over, and ``TooLong`` if
        the server would not take the request because of its size.
        """
        if self.ended is not None:
            raise self.ended
        if isinstance(request, requests.Say | requests.Emote | requests.Tell) and not request.uid:
            request = msgspec.structs.replace(request, uid=self.make_uid())
        return self._call(request, on_end)

    def make_uid(self) -> str:
        """Return a new identifier for a line. ``is_own`` knows it."""
        self._last_uid += 1
        return f"{self._uid_prefix}-{self._last_uid}"

    def forget(self, number: int) -> None:
        """Do not repeat a call, and do not call its *on_end*. A request that was sent may still be executed."""
        self._calls.pop(number, None)

    def next_event(self) -> Event | None:
        """Return the next event for the program, or None if there is none now."""
        return self._inbox.next_event()

    def enter_password(self, password: str | None) -> None:
        """Use *password* for the next attempt to connect, or end the session because of the refusal for None."""
        refusal, self.password_refusal = self.password_refusal, None
        if password is None and refusal is not None:
            self.end(refusal)
        self._password = password or ""

    @property
    def rooms(self) -> list[str]:
        """The rooms that the session has joined."""
        return list(self._inbox.streams)

    @property
    def resume(self) -> requests.Resume | None:
        """The state from which a later program can continue, or None before the first ``hello``. It holds a secret.

        A later program gets the events that this program has not taken yet.
        """
        if not self._token:
            return None
        rooms = {name: stream.taken for name, stream in self._inbox.streams.items()}
        return requests.Resume(self._token, self._journal, rooms, self._inbox.told_taken, self._attempt)

    def is_own(self, event: events.Line) -> bool:
        """Return whether this program has said a line, also before a restart of the server or of the program.

        A line from before the program began is its own if it has the nickname of the program.
        """
        if event.session in self._own_sessions or (event.uid or "").startswith(self._uid_prefix):
            return True
        return event.nick == self.nick and (not event.session or event.at < self._began)

    # For the connection

    @property
    def wants_input(self) -> bool:
        """Whether the caller should read from the connection. False while too many events wait for the program."""
        return not self._inbox.is_full or bool(self._calls) or self.state is not State.ONLINE

    @property
    def patience(self) -> float:
        """The number of seconds without input after which the caller closes a connection that it reads from."""
        return SILENCE_SECONDS if self.state is State.ONLINE else GREETING_SECONDS

    def connection_made(self) -> None:
        """Begin a connection."""
        self.state = State.GREETING
        self.must_close = False
        self._lines = framing.LineReader()
        self._send_hello()

    def receive(self, data: bytes) -> None:
        """Take bytes from the connection, and end the calls that they answer."""
        try:
            for line in self._lines.feed(data):
                self._receive_message(framing.decode_message(line))
                if self.must_close:
                    break
            if self._lines.greeting.is_line_protocol:
                self.end(errors.Unreachable(self._lines.greeting.explain("")))
        except (framing.FramingError, msgspec.DecodeError) as error:
            self._close(str(error))

    def bytes_to_send(self) -> bytes:
        """Return the bytes to send, and remove them from the session."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def connection_lost(self, reason: str) -> None:
        """End a connection, or an attempt to connect.

        Unless the session is over, the next attempt is due after *retry_after* seconds. Calls fail only if it is over.
        """
        if self.ended is not None:
            return
        was_online = self.state is State.ONLINE
        self.state = State.OFFLINE
        self._hello = None
        self._out.clear()
        self._inbox.disconnected()
        self._drop_reads_of_missing_lines()
        goodbye, self._goodbye = self._goodbye, None
        close_reason, self._close_reason = self._close_reason, ""
        nick_refusal, self._nick_refusal = self._nick_refusal, ""
        retry_after, self._retry_after = self._retry_after, 0.0
        reason = (goodbye.reason if goodbye else "") or close_reason or reason
        if self.has_quit:
            self.end(errors.Ended("the session has ended"))
        elif goodbye is not None and not goodbye.reconnect:
            self.end(errors.Ended(reason))
        elif self.password_refusal is not None:
            self.retry_after = 0.0
        elif self._lines.greeting.is_ban:
            self.end(errors.Banned(errors.BANNED, self._lines.explain_end(reason), {"reason": "banned"}))
        elif self.welcome is None:
            self.end(errors.Unreachable(self._lines.explain_end(reason)))
        else:
            self._failures = 1 if was_online else self._failures + 1
            pause = retry_after + backoff(self._failures, self._longest_pause, self._random.random())
            self.retry_after = goodbye.after if goodbye and goodbye.after > 0 else pause
            self._inbox.append(events.Disconnected(reason, self.retry_after, nick_refusal))

    def end(self, error: errors.ChatError) -> None:
        """End the session because of *error*, which another attempt cannot repair. All calls fail with it."""
        self.state = State.ENDED
        self.must_close = True
        self.ended = error
        self._drop_reads_of_missing_lines()
        for number in list(self._calls):
            self._answer(number, None, error)

    def stop(self) -> None:
        """End the session at once, as the program wants. All calls fail."""
        if self.ended is None:
            self.has_quit = True
            self.end(errors.Ended("the session has ended"))

    # Calls

    def _call(self, request: requests.Request[Any], on_end: requests.OnEnd, *, reads_missing: bool = False) -> int:
        self._last_call += 1
        data = framing.encode_request(self._last_call, request.method, request)
        if len(data) > framing.MAX_SENT_LINE:
            message = f"a request holds at most {framing.MAX_SENT_LINE} bytes"
            raise errors.TooLong(errors.TOO_LONG, message, {"reason": "too-long", "limit": framing.MAX_SENT_LINE})
        call = _Call(request, data, on_end, reads_missing)
        self._calls[self._last_call] = call
        is_quit = isinstance(request, requests.Quit)
        if self.state is State.ONLINE or (is_quit and self.state is State.GREETING):
            self._send_call(call)
        self.has_quit = self.has_quit or is_quit
        return self._last_call

    def _ask(self, stream: RoomStream) -> None:
        request = requests.History(stream.name, after=stream.seen, count=stream.page)
        self._call(request, partial(self._inbox.fill, stream), reads_missing=True)

    def _send_call(self, call: _Call) -> None:
        self._out.append(call.data)
        call.was_sent = True

    def _drop_reads_of_missing_lines(self) -> None:
        self._calls = {number: call for number, call in self._calls.items() if not call.reads_missing}

    def _answer(self, number: int, result: Any, error: errors.ChatError | None = None) -> None:  # noqa: ANN401 -- any type
        self._calls.pop(number).on_end(result, error)

    def _close(self, reason: str) -> None:
        self.must_close = True
        self._close_reason = reason

    # hello

    def _rooms_of_hello(self) -> list[str] | UnsetType:
        if self._rooms_to_join is not None:
            return self._rooms_to_join
        calls = (call.request for call in self._calls.values())
        leaving = {request.room.lower() for request in calls if isinstance(request, requests.Leave)}
        return [name for name in self._inbox.streams if name not in leaving]

    def _send_hello(self) -> None:
        rooms = self._rooms_of_hello()
        resume = None
        if self._token:
            self._attempt += 1
            seen = {name: stream.seen for name, stream in self._inbox.streams.items()}
            resume = requests.Resume(self._token, self._journal, seen, self._inbox.told, self._attempt)
        hello = requests.Hello(
            nick=self.account if self.account and self._password else self.nick,
            rooms=rooms,
            client=self._client,
            protocol=requests.VERSION,
            replay=msgspec.UNSET if self._replay is None else self._replay,
            resume=msgspec.UNSET if resume is None else resume,
            grace=msgspec.UNSET if self._grace is None else self._grace,
            password=self._password,
            private=self._private,
        )
        self._last_call += 1
        self._hello = self._last_call
        self._out.append(framing.encode_request(self._hello, hello.method, hello))

    def _refuse_hello(self, error: errors.Rejected) -> None:
        if error.code == errors.OTHER_JOURNAL and self._token:
            self._forget_numbers()
            self._send_hello()
        elif self.welcome is not None and _is_temporary(error):
            self._nick_refusal = error.why if isinstance(error, errors.NickRejected) else ""
            self._retry_after = error.retry
            self._close(str(error))
        elif isinstance(error, errors.PASSWORD_ERRORS) and self.asks_password:
            self.password_refusal = error
            self._close(str(error))
        elif isinstance(error, errors.RoomRejected) and self.welcome is not None and self._leave_out(error):
            self._send_hello()
        else:
            self.end(error)

    def _leave_out(self, error: errors.RoomRejected) -> bool:
        """Leave the refused room out of the next ``hello``, and tell the program. Return False if no room is left."""
        rooms = self._rooms_of_hello()
        if isinstance(rooms, UnsetType) or not rooms or (len(rooms) == 1 and not self.has_fallback):
            return False
        refused = error.data.get("room")
        if refused not in rooms:
            return False
        others = [name for name in rooms if name != refused]
        self._rooms_to_join = others or UNSET
        self._inbox.leave(refused)
        assert self.welcome is not None
        self._inbox.append(events.Left(refused, self.nick, self.welcome.session, str(error)))
        return True

    def _forget_numbers(self) -> None:
        """Forget the numbers and the token, because the server has another journal."""
        self._token = ""
        if self._rooms_to_join is None:
            self._rooms_to_join = list(self._inbox.streams)
        self._inbox.forget_numbers()

    def _greet(self, welcome: requests.Welcome) -> None:
        """Go on after the answer to ``hello``."""
        is_first = self.welcome is None
        same_journal = welcome.journal == self._journal
        self.state = State.ONLINE
        self.welcome = welcome
        wanted, self.nick = self.nick, welcome.nick
        is_renamed = self.account is not None and not welcome.resumed and wanted != welcome.nick
        self._set_account(welcome.account, self._password)
        self._token = welcome.token
        self._journal = welcome.journal
        self._own_sessions.add(welcome.session)
        if is_first:
            self._began = welcome.now
        self._rooms_to_join = None
        self._inbox.connected(resumed=welcome.resumed)
        if not is_first:
            self._inbox.append(events.Reconnected(welcome.resumed, same_journal))
        calls = list(self._calls.items())
        if self._away is not None and not welcome.resumed:
            self._call(requests.Away(self._away), lambda *_: None)
        if is_renamed:
            self._call(requests.Nick(wanted), lambda *_: None)
        for name in set(self._inbox.streams) - set(welcome.rooms):
            self._inbox.leave(name)
        requested = (call.request for _, call in calls if call.was_sent)
        joins = {request.room.lower(): request for request in requested if isinstance(request, requests.Join)}
        for name, snapshot in welcome.rooms.items():
            self._inbox.enter(name, snapshot, joins.get(name))
        for number, call in calls:
            self._repeat(number, call, welcome)

    def _repeat(self, number: int, call: _Call, welcome: requests.Welcome) -> None:
        """Send a call that the last connection has left unanswered, unless the server's state answers it."""
        match call.request:
            case requests.Tell() if call.was_sent and not welcome.resumed:
                message = "the server has lost the session before it confirmed the private message"
                self._answer(number, None, errors.Unconfirmed(message))
            case requests.Topic() as topic if call.was_sent and _is_set(topic, welcome):
                self._answer(number, requests.Nothing())
            case requests.Topic() | requests.AccountRequest() if call.was_sent:
                message = "the connection was lost before the server confirmed this"
                self._answer(number, None, errors.Unconfirmed(message))
            case requests.Quit() if call.was_sent:
                pass
            case _:
                call.is_repeated = True
                self._send_call(call)

    # Messages from the server

    def _receive_message(self, message: framing.Message) -> None:
        if message.method is not None:
            event = events.decode(message.method, message.params)
            if event is not None:
                self._take(event)
        elif message.id is None:
            reason = message.error.message if message.error else "the server has sent an empty message"
            raise framing.FramingError(reason)
        elif message.id == self._hello:
            self._hello = None
            if message.error is not None:
                self._refuse_hello(message.error.as_exception())
            else:
                self._greet(msgspec.json.decode(message.result, type=requests.Welcome))
        elif (call := self._calls.get(message.id)) is not None:
            if message.error is not None:
                self._receive_error(message.id, call, message.error.as_exception())
            else:
                self._receive_result(message.id, call, message.result)

    def _receive_error(self, number: int, call: _Call, error: errors.Rejected) -> None:
        if call.is_repeated and isinstance(call.request, requests.Leave) and isinstance(error, errors.NotInRoom):
            self._answer(number, requests.Nothing())
        else:
            self._answer(number, None, error)

    def _receive_result(self, number: int, call: _Call, raw: msgspec.Raw) -> None:
        result = msgspec.json.decode(raw, type=call.request.result)
        match call.request:
            case requests.Join() as join:
                self._inbox.enter(result.room, result, join)
            case requests.Leave(room=room):
                self._inbox.leave(room.lower())
            case requests.Register(password=password) | requests.Login(password=password):
                self.nick = result.nick
                self._set_account(result.account, password)
            case requests.Logout() | requests.Drop():
                self.nick = result.nick
                self._set_account(result.account, self._password)
            case requests.SetPassword(new=password):
                self._password = password
            case requests.Nick():
                self.nick = result.nick
            case requests.Away(reason=reason):
                self._away = reason
            case requests.Quit():
                self._close("")
        self._answer(number, result)

    def _set_account(self, account: str | None, password: str) -> None:
        """Set the account, and its password. The password of an account that has ended is forgotten."""
        self.account = account
        self._password = password if account else ""

    def _take(self, event: Event) -> None:
        """Take an event from the server."""
        own = self.welcome.session if self.welcome else None
        match event:
            case events.Left(room=room, session=session) if session == own:
                self._inbox.leave(room)
            case events.Renamed(nick=nick, session=session) if session == own:
                self.nick = nick
            case events.LoginEnded(nick=nick, account=account):
                self.nick = nick
                if account != self.account:
                    self._set_account(account, "")
            case events.Goodbye():
                self._goodbye = event
        self._inbox.take(event)


def _is_set(topic: requests.Topic, welcome: requests.Welcome) -> bool:
    """Return whether a room of the session has this topic."""
    snapshot = welcome.rooms.get(topic.room.lower())
    return snapshot is not None and snapshot.topic == topic.text


def _is_temporary(error: errors.Rejected) -> bool:
    """Return whether ``hello`` may succeed later. The lost session may still hold the nickname."""
    if isinstance(error, errors.NickRejected):
        return error.why in {"taken", "looks-like"}
    return isinstance(error, errors.TooManyTries | errors.Busy) or error.code == errors.GOING_DOWN
