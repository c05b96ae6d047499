"""The private messages to a session, across its connections, and the messages that a session sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import json

from broadcast.core.errors import JournalError
from broadcast.core.events import PrivateMessage
from broadcast.core.nicknames import casefold_key
from broadcast.core.records import PrivateLine
from broadcast.doors.jsonrpc.encoder import encode_notification, encode_private
from broadcast.doors.jsonrpc.messages import TellResult
from broadcast.doors.jsonrpc.notifications import Announced

if TYPE_CHECKING:
    from collections.abc import Callable

    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import PrivateLinesCallback
    from broadcast.core.membership import Member
    from broadcast.doors.jsonrpc.errors import RpcError
    from broadcast.doors.jsonrpc.responses import Call

MAX_MESSAGES: Final = 200
"""Maximum number of private messages that a session stores for the next connection."""


class _Told(NamedTuple):
    """A message that was numbered."""

    number: int
    encoded: bytes
    line: PrivateLine | None


class _Memory(NamedTuple):
    """The private messages that a session takes with it to another node."""

    last: int
    """Number of the last message to it."""
    told: list[tuple[int, str, PrivateLine | None]]
    tells: dict[str, tuple[int, TellResult]]
    """The digests and results of the messages that it has sent, by their uid."""
    received: list[tuple[int, str]]
    """The uids of the last messages that it has received; see ``Member.received_uids``."""


class PrivateMessages:
    """The private messages to *member*. They are numbered from 1 when they are sent for the first time."""

    __slots__ = ("_count", "_held", "_hub", "_is_away", "_member", "_send", "_told", "_unconfirmed", "takes_stored")

    def __init__(self, hub: Hub, member: Member) -> None:
        self.takes_stored = True
        """Whether the client wants stored messages. Otherwise, they wait in the journal."""
        self._hub = hub
        self._member = member
        self._send: Callable[[bytes], None] | None = None
        """The output of the connection; None while messages are held."""
        self._is_away = False
        """Whether there is no connection."""
        self._told: list[_Told] = []  # mostly empty; an empty deque would take 700 bytes
        """The last messages that were numbered."""
        self._count = 0
        """Number of the last message."""
        self._held: list[PrivateMessage] = []
        self._unconfirmed: PrivateLine | None = None
        """The last stored message that was sent on this connection and that no request has followed."""

    def receive(self, message: PrivateMessage) -> None:
        """Send *message*, or hold it."""
        if message.line is not None and (self._is_away or not self.takes_stored):
            return  # it waits in the journal
        if self._send is not None:
            # A message that has come by way of another node may have been read from the journal meanwhile.
            if message.line is None or message.line.id not in self._known_lines():
                self._tell(self._send, message)
        else:
            self._held.append(message)
            if len(self._held) > MAX_MESSAGES:
                del self._held[0]
                self._count += 1  # so that the client notices that one is missing

    def save(self, tells: Mapping[str, FirstTell]) -> str:
        """Number all held messages, and return everything that another node has to know. *tells* are those sent."""
        for message in self.take_held():
            self._tell(_discard, message)
        told = [(each.number, each.encoded.decode(), each.line) for each in self._told]
        sent = {uid: (tell.digest, tell.result) for uid, tell in tells.items() if tell.result is not None}
        return json.encode(_Memory(self._count, told, sent, [*self._member.received_uids])).decode()

    def restore(self, memory: str, received: int) -> dict[str, FirstTell]:
        """Take over *memory*, which is empty if it was lost together with its node, and return the messages sent.

        The client has received the messages up to the number *received*.
        """
        last, told, tells, uids = json.decode(memory, type=_Memory) if memory else (0, [], {}, [])
        self._member.received_uids = dict.fromkeys(uids)
        self._count = max(last, received)
        self._told = [_Told(number, encoded.encode(), line) for number, encoded, line in told]
        return {uid: FirstTell(*tell) for uid, tell in tells.items()}

    def take_held(self) -> Sequence[PrivateMessage]:
        """Remove the messages that are held and return them."""
        held, self._held = self._held, []
        return held

    def _index_after(self, number: int | None) -> int:
        """Return the index in ``_told`` after the message *number*, None for the last one."""
        return sum(number is None or told.number <= number for told in self._told)

    def _known_lines(self) -> set[int]:
        return {told.line.id for told in self._told if told.line is not None}

    def _tell(self, send: Callable[[bytes], None], message: PrivateMessage) -> None:
        self._count += 1
        told = _Told(self._count, encode_private(self._count, message), message.line)
        self._told.append(told)
        del self._told[:-MAX_MESSAGES]
        if message.line is not None:
            self._note_sent(message.line)
        send(told.encoded)

    def _note_sent(self, line: PrivateLine) -> None:
        self._unconfirmed = line
        self._hub.private_lines.note_sent(line)

    def confirm(self) -> None:
        """Note that the client has read all messages that were sent on its connection."""
        if self._unconfirmed is not None:
            line, self._unconfirmed = self._unconfirmed, None
            self._hub.private_lines.confirm(line)

    def hold(self, *, is_away: bool) -> None:
        """Hold messages until ``resume``. If the session *is away*, it has no connection."""
        self._send = self._unconfirmed = None
        self._is_away = is_away

    def read_waiting(self, on_result: PrivateLinesCallback, received: int | None = None) -> None:
        """Read the messages that wait for the account of the member. Without an account, there are none at once.

        The client has received the messages up to the number *received*, by default all that were sent.
        """
        read = [told.line for told in self._told[: self._index_after(received)] if told.line is not None]
        if read:
            self._hub.private_lines.confirm(read[-1])
        if self._member.account is None or not self.takes_stored:
            on_result(())
        else:
            self._hub.private_lines.read_waiting(self._member.account, on_result)

    def resume(
        self, send: Callable[[bytes], None], waiting: Sequence[PrivateLine] | JournalError, received: int | None = None
    ) -> None:
        """Send the messages after *received*, the *waiting* ones, and the held ones. Later ones are sent at once."""
        self._send = send
        again = self._told[self._index_after(received) :]
        self._unconfirmed = None
        for told in again:
            if told.line is not None:
                self._note_sent(told.line)
        send(b"".join(told.encoded for told in again))
        if isinstance(waiting, JournalError):
            text = f"The private messages that wait for you cannot be read now: {waiting}."
            send(encode_notification(Announced(room=None, text=text)))
            waiting = ()
        known = self._known_lines()
        for line in waiting:
            if casefold_key(line.sender) in self._member.ignored:
                self._hub.private_lines.note_sent(line)
            elif line.id not in known:
                known.add(line.id)
                message = PrivateMessage(0, line.sender, self._member.id, line.text, line.at, line.sender_account, line)
                self._member.note_private(message)
                self._tell(send, message)
        held, self._held = self._held, []
        for message in held:
            if message.line is None or message.line.id not in known:
                self._tell(send, message)


class FirstTell:
    """A private message from a program, which may send it again if it has a uid."""

    __slots__ = ("_calls", "digest", "result")

    def __init__(self, digest: int, result: TellResult | None = None) -> None:
        self.digest = digest
        """A hash of its recipient and text."""
        self.result = result
        """The answer; None while the message is being stored."""
        self._calls: list[Call] = []
        """The calls that wait for this."""

    def answer(self, call: Call) -> None:
        """Answer *call*, perhaps later."""
        if self.result is None:
            self._calls.append(call)
        else:
            call.succeed(self.result)

    def succeed(self, result: TellResult) -> None:
        """Answer all calls, now and later, with *result*."""
        self.result = result
        calls, self._calls = self._calls, []
        for call in calls:
            call.succeed(result)

    def fail(self, error: RpcError) -> None:
        """Answer the calls so far with *error*."""
        for call in self._calls:
            call.fail(error)


def _discard(_encoded: bytes) -> None:
    """Send nothing."""
