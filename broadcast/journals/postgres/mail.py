"""Messages and decisions from node to node, through the table ``mail``.

The sender of a message waits for the answer of the other node. A decision has no answer.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from time import monotonic
from typing import Any, Final

import msgspec

from broadcast.core.decisions import Announcement, Decision
from broadcast.core.directory import Expulsion, Handover, NodeListener, NodeMessage, OnDirectory, Return
from broadcast.core.errors import DatabaseAway, NoAnswer, NotHere, RecipientNotReading, RejectedError
from broadcast.core.events import PrivateMessage
from broadcast.core.time_slice import CallSoon
from broadcast.journals.postgres.database import Connection
from broadcast.journals.postgres.decisions import decode_decision, encode_decision, stored_decision
from broadcast.journals.postgres.people_copy import Notify
from broadcast.journals.postgres.shared_sessions import AddChange, ignore_answer

ANSWER_SECONDS: Final = 5.0
"""Time after which a message without an answer has failed."""
MAIL_SECONDS: Final = 3.0
"""Time after which the recipient discards a message, because its sender may have given up."""

_MAIL = """SELECT id, sender, body, extract(epoch FROM now() - stored)::float8 FROM mail
    WHERE node = %s AND id > %s ORDER BY id"""
_DELETE_MAIL = "DELETE FROM mail WHERE node = %s AND id <= %s"
_KINDS: Final[dict[str, Any]] = {kind.__name__: kind for kind in (PrivateMessage, Expulsion, Handover, Return)}
"""The classes of messages, by name."""


class Mail:
    """The mail to and from *node*.

    *add* makes a change of the directory. *notify* passes messages and decisions to the listener of this node.
    *call_soon* passes answers to the reactor's thread.
    """

    def __init__(self, node: str, add: AddChange, notify: Notify, call_soon: CallSoon) -> None:
        self._node = node
        self._add = add
        self._notify = notify
        self._call_soon = call_soon
        self._numbers = count(1)
        self._sent: dict[int, tuple[OnDirectory, float]] = {}
        """The messages without an answer, with the time at which each fails. Only the reactor's thread uses them."""
        self._last = 0
        """The id of the last mail that was received."""

    def restart(self) -> None:
        """Receive the mail of a new lease from its beginning."""
        self._last = 0

    # On the reactor's thread

    def send(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Send *message*, and call *on_taken* with the answer of the other node, or when there is none in time."""
        number = next(self._numbers)
        self._sent[number] = on_taken, monotonic() + ANSWER_SECONDS

        def stored(answer: Any) -> None:  # noqa: ANN401 - a value of the database
            if answer is True:  # the message waits in the database, because no node has the session
                self._end(number, None)
            elif answer is not None:
                self._end(number, answer or NotHere("the recipient is not here any more."))
            elif number in self._sent:
                self._sent[number] = on_taken, monotonic() + ANSWER_SECONDS

        body = ["message", number, type(message).__name__, msgspec.to_builtins(message)]
        self._add(("send", message.to, body), stored)

    def publish(self, decision: Decision, on_published: OnDirectory) -> None:
        """Send *decision* to all nodes; see ``Directory``. The database keeps it until another one replaces it."""
        kept = None if isinstance(decision, Announcement) else stored_decision(decision)._asdict()
        self._add(("publish", None, ["decision", 0, *encode_decision(decision)], kept), on_published)

    def fail_all(self) -> None:
        """Let all messages without an answer fail, because other nodes have removed this one."""
        for number in list(self._sent):
            self._end(number, DatabaseAway())

    def fail_old(self) -> None:
        """Let the messages fail that have no answer in time."""
        now = monotonic()
        for number, (_, until) in list(self._sent.items()):
            if until < now:
                self._end(number, NoAnswer())

    def _end(self, number: int, error: RejectedError | None) -> None:
        on_taken, _ = self._sent.pop(number, (ignore_answer, 0.0))
        on_taken(error)

    def _answer(self, node: str, number: int, error: RejectedError | None) -> None:
        name = "" if error is None else type(error).__name__
        self._add(("answer", node, ["answer", number, name, str(error or "")]), ignore_answer)

    # On the thread of the directory

    def read(self, db: Connection) -> None:
        """Handle the mail to this node, and delete it after that. So a lost connection loses none."""
        mail = db.execute(_MAIL, (self._node, self._last)).fetchall()
        for mail_id, sender, (kind, number, name, values), age in mail:
            self._last = mail_id
            if kind == "answer":
                self._call_soon(partial(self._end, number, _to_error(name, values)))
            elif kind == "decision":
                self._notify(partial(_carry_out, decode_decision(name, values)))
            elif age < MAIL_SECONDS:
                on_taken = partial(self._answer, sender, number)
                message: NodeMessage = msgspec.convert(values, _KINDS[name])
                self._notify(partial(_receive, message, on_taken))
        if mail:
            db.execute(_DELETE_MAIL, (self._node, self._last))


def _receive(message: NodeMessage, on_taken: OnDirectory, listener: NodeListener) -> None:
    listener.receive(message, on_taken)


def _carry_out(decision: Decision, listener: NodeListener) -> None:
    listener.carry_out(decision)


def _to_error(name: str, text: str) -> RejectedError | None:
    """Return the error of the class *name* with this *text*; None if *name* is empty."""
    if not name:
        return None
    return RecipientNotReading(text) if name == RecipientNotReading.__name__ else NotHere(text)
