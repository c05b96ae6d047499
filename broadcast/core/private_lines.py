"""The private messages that are stored: those between two accounts, and those to an account that is not here. No I/O.

A stored line waits until its recipient has read it. The server knows that when input, or an orderly end of the
connection, follows the line. Otherwise the line is delivered again at the next login.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Final, TypeAlias

from broadcast.core.errors import JournalError, NotStored, RecipientNotReading
from broadcast.core.limits import find_source
from broadcast.core.records import AddPrivate, MarkDelivered, PrivateLine

if TYPE_CHECKING:
    from broadcast.core.accounts import Account
    from broadcast.core.interfaces import Callback, PrivateLinesCallback, Records
    from broadcast.core.membership import Member
    from broadcast.core.records import StoredRecords
    from broadcast.core.search_query import SearchQuery

MAX_WAITING: Final = 200
"""Maximum number of messages that wait for an account that is not here."""
MAX_WAITING_FROM_ONE: Final = 20
"""Maximum number of these from one account, or from one address without an account."""
INBOX_LINES: Final = 20
"""Number of messages that ``/inbox`` shows."""

OnStored: TypeAlias = Callable[[PrivateLine | NotStored], None]
"""Receives a stored line, or the reason why it was not stored. Called in a later turn of the reactor."""


class PrivateLines:
    """The private lines in *records*, and the numbers of those that wait."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._next_id = self._step = 1
        self._waiting: dict[int, dict[int, Hashable]] = {}
        """The senders of the lines that wait, by the number of the recipient's account and by the line's id."""
        self._sent: dict[int, dict[int, None]] = {}
        """The ids of the lines that were sent to a session of this node, in this order, by the recipient's account."""
        self._storing: set[int] = set()
        """The ids of the lines that are being stored."""
        self._confirming: Counter[int] = Counter()
        """Number of confirmations that are being stored, by account."""
        self._after_confirming: dict[int, list[Callback]] = {}
        """The calls that wait for the end of these, by account."""

    def load(self, stored: StoredRecords) -> None:
        """Take over the lines that wait. Called first, and again if changes of other nodes were missed."""
        self._next_id, self._step = stored.next_private, stored.step
        self._waiting = {recipient: dict(lines) for recipient, lines in stored.waiting.items()}

    def take_over(self, change: AddPrivate | MarkDelivered) -> None:
        """Take over *change*, which another node of a cluster has stored."""
        if isinstance(change, MarkDelivered):
            self._stop_waiting(change.recipient_account, change.ids)
            return
        line = change.line
        while self._next_id <= line.id:  # so that the ids of all nodes rise together
            self._next_id += self._step
        if not line.delivered:
            self._waiting.setdefault(line.recipient_account, {})[line.id] = line.sender_account

    # Storing

    def check_space(self, member: Member, recipient: Account) -> None:
        """Raise ``RecipientNotReading`` if no further line of *member* may wait for *recipient*."""
        waiting = self._waiting.get(recipient.id, {})
        own = _key(member)
        if len(waiting) >= MAX_WAITING:
            text = f"{MAX_WAITING} messages wait for {recipient.name} already"
        elif sum(sender == own for sender in waiting.values()) < MAX_WAITING_FROM_ONE:
            return
        elif member.account is None:
            text = f"{MAX_WAITING_FROM_ONE} messages from your address wait for {recipient.name} already"
        else:
            text = f"{MAX_WAITING_FROM_ONE} of your messages wait for {recipient.name} already"
        raise RecipientNotReading(f"{text}: write again when they have been here.")

    def store(
        self,
        member: Member,
        recipient: Account,
        text: str,
        at: float,
        on_stored: OnStored,
        *,
        waits: bool = True,
        uid: str = "",
    ) -> None:
        """Store a line from *member* to *recipient*. If it does not *wait*, it counts as delivered."""
        sender = 0 if member.account is None else member.account.id
        line = PrivateLine(
            self._next_id, at, sender, member.nick, recipient.id, recipient.name, text, delivered=not waits, uid=uid
        )
        self._next_id += self._step
        if waits:
            self._waiting.setdefault(recipient.id, {})[line.id] = _key(member)
        self._storing.add(line.id)
        self._records.write((AddPrivate(line),), partial(self._on_written, line, on_stored))

    def _on_written(self, line: PrivateLine, on_stored: OnStored, error: JournalError | None) -> None:
        self._storing.discard(line.id)
        if error is None:
            self._limit_unread(line.recipient_account)
            on_stored(line)
        else:
            self._stop_waiting(line.recipient_account, [line.id])
            on_stored(NotStored(error))

    def _limit_unread(self, account: int) -> None:
        """Count older lines as delivered if a recipient reads very many without any input: a login shows some hundred.

        Only a recipient that is here can have so many.
        """
        waiting = self._waiting.get(account, {})
        if len(waiting) > 2 * MAX_WAITING and account not in self._confirming:
            self._mark_delivered(account, sorted(waiting)[:-MAX_WAITING])

    # Delivery

    def read_waiting(self, account: Account, on_result: PrivateLinesCallback) -> None:
        """Read the lines that wait for *account*, the oldest first, except those that are being stored."""

        def on_lines(lines: Sequence[PrivateLine] | JournalError) -> None:
            if not isinstance(lines, JournalError):
                lines = [line for line in lines if line.id not in self._storing]
            on_result(lines)

        self._when_confirmed(account, partial(self._records.read_waiting, account.id, on_lines))

    def note_sent(self, line: PrivateLine) -> None:
        """Note that *line* is sent to a session of its recipient on this node."""
        sent = self._sent.setdefault(line.recipient_account, {})
        sent.pop(line.id, None)
        sent[line.id] = None

    def was_sent(self, line: PrivateLine) -> bool:
        """Return whether *line* was sent to a session of its recipient on this node, which has not confirmed it yet."""
        return line.id in self._sent.get(line.recipient_account, ())

    def confirm(self, line: PrivateLine) -> None:
        """Note that the recipient has read *line* and all that were sent before it.

        Another line with a lower id may wait: one that another node has stored at the same time.
        """
        account = line.recipient_account
        sent = self._sent.get(account, {})
        before = takewhile(lambda number: number != line.id, sent if line.id in sent else ())
        read = [*before, line.id]
        waiting = self._waiting.get(account, {})
        if ids := [number for number in read if number in waiting]:
            self._mark_delivered(account, ids)

    def _mark_delivered(self, account: int, ids: Sequence[int]) -> None:
        self._confirming[account] += 1
        self._records.write((MarkDelivered(account, ids),), partial(self._on_marked, account, ids))

    def _on_marked(self, account: int, ids: Sequence[int], error: JournalError | None) -> None:
        if error is None:  # otherwise the lines wait for the next confirmation, or come again at the next login
            self._stop_waiting(account, ids)
        self._confirming[account] -= 1
        if not self._confirming[account]:
            del self._confirming[account]
            for call in self._after_confirming.pop(account, ()):
                call()

    def _stop_waiting(self, account: int, ids: Sequence[int]) -> None:
        for lines in (self._waiting, self._sent):
            numbers = lines.get(account, {})
            for number in ids:
                numbers.pop(number, None)
            if not numbers:
                lines.pop(account, None)

    def _when_confirmed(self, account: Account, call: Callback) -> None:
        """Call *call* once the present confirmations of *account* are stored."""
        if account.id in self._confirming:
            self._after_confirming.setdefault(account.id, []).append(call)
        else:
            call()

    # Reading

    def read_inbox(self, account: Account, on_result: PrivateLinesCallback) -> None:
        """Read the newest ``INBOX_LINES`` lines that were delivered to *account*, in ascending order."""
        self._when_confirmed(account, partial(self._records.read_inbox, account.id, INBOX_LINES, on_result))

    def read_with(
        self, account: Account, other: Account, before: int | None, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Read the newest *limit* lines between *account* and *other*, with ids below *before*, in ascending order."""
        self._records.read_private(account.id, other.id, before, limit, on_result)

    def search(
        self, account: Account, other: Account, query: SearchQuery, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Find the newest *limit* lines between *account* and *other* that match *query*, in ascending order."""
        self._records.search_private(account.id, other.id, query, limit, on_result)


def _key(member: Member) -> Hashable:
    """Return the account of *member*, or the address under which people without one are counted."""
    return find_source(member.source.address) if member.account is None else member.account.id
