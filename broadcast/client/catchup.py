"""The first moments in the room: which number the newest line has, and what was said while one was not there.

Sans-IO: fed with what arrives, it sends commands and shows what is to be shown. Until it is done, every answer is to a
command of its own, so nobody else's may be sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from broadcast.client.lines import Answer, Emoted, Error, Event, Kept, Missed, Notice, Recalled, Said
from broadcast.client.numbers import CONTEXT, Ledger, locate

PIECE: Final = 1000
"""A server shows at most so many lines at once."""
TRIES: Final = 5
"""So often the newest number is asked for while it is not clear which line it belongs to."""


class CatchUp:
    """The commands that a client sends when it has arrived, and what becomes of the answers.

    *again*: the connection was lost before; what was said since is shown, in place of what the server shows to every
    newcomer. *show* gets what is to be shown, after the ledger knows of it; *missed* gets each kept line that is
    shown late, with its number; *done* is called once, when lines may be sent.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        again: bool,
        send: Callable[[str], None],
        show: Callable[[Event], None],
        missed: Callable[[Kept], None],
        done: Callable[[], None],
    ) -> None:
        self.receipts = False
        """Whether the server tells the numbers of one's own lines."""
        self._ledger = ledger
        self._again = again
        self._send = send
        self._show = show
        self._missed = missed
        self._done = done
        self._over = False
        self._replay: list[Kept] = []
        self._live = 0
        self._anchor: tuple[int, int] | None = None
        self._lines: list[str] = []
        self._since = 0
        self._tries = 0
        self._later: list[Event] = []
        self._recalled: list[Recalled] = []
        self._placed = False
        self._end = self._newest = 0
        self._owed: deque[int] = deque()
        self._reply = self._on_receipts

    def begin(self) -> None:
        """Send the first commands."""
        self._ask("/receipts on")
        self._ask_for_newest()

    def _ask(self, command: str, last: int = 0) -> None:
        """Send *command*, whose answer is one line, or goes up to the number *last*."""
        self._owed.append(last)
        self._send(command)

    def answers(self, event: Event) -> bool:
        """Whether *event* is an answer to a command of this; to be asked once for each, also after it is done."""
        if not self._owed or not isinstance(event, Answer | Error | Recalled):
            return False
        if not isinstance(event, Recalled) or event.seq >= self._owed[0]:
            self._owed.popleft()
        return True

    def take(self, event: Event) -> None:
        """Take in what arrived."""
        if self.answers(event):
            self._reply(event)
        elif isinstance(event, Said | Emoted):
            self._lines.append(str(event))
            if event.time:
                self._replay.append(event)
            else:
                self._live += 1
                self._since += 1
            if not self._again:
                self._tell(event)
            elif not event.time:
                self._later.append(event)
        else:
            if isinstance(event, Missed):
                self._skip(event)
            if self._again:
                self._later.append(event)
            else:
                self._tell(event)

    def _skip(self, event: Missed) -> None:
        """Lines were left out of what arrives, and their numbers are known."""
        if self._anchor is None:
            self._newest = event.first - 1 - self._live
        self._anchor = event.last, self._live

    def give_up(self, *, lost: bool) -> None:
        """It takes too long, or the connection is *lost*: show what was held back.

        What somebody said is left out when it was lost, and so are notices of it: that is asked for again.
        """
        if self._over:
            return
        if not lost:
            self._finish_without()
            return
        self._over = True
        for event in self._later:
            if not isinstance(event, Said | Emoted | Missed):
                self._show(event)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Said | Emoted):
            self._ledger.saw(str(event))
        elif isinstance(event, Missed):
            self._ledger.skip(event.last)
        self._show(event)

    # The answers

    def _on_receipts(self, reply: Event) -> None:
        self.receipts = isinstance(reply, Answer)
        self._reply = self._on_newest
        # Whatever arrived before this was told before the server looked at the next command.
        self._since = 0

    def _ask_for_newest(self) -> None:
        self._tries += 1
        self._ask("/history 1")

    def _on_newest(self, reply: Event) -> None:
        if isinstance(reply, Error):
            if self._again:
                self._show(Notice(f"What was said meanwhile is not known: {reply.text}"))
            self._finish_without()
            return
        if self._anchor is not None:
            number, live = self._anchor
            newest = number + self._live - live
        elif isinstance(reply, Recalled):
            place = locate(str(reply.line), self._lines, self._since)
            if not place.exact and self._tries < TRIES:
                self._since = 0
                self._ask_for_newest()
                return
            newest = reply.seq + place.after
        else:
            newest = self._live
        self._found(newest)

    def _found(self, newest: int) -> None:
        """The last line that arrived has the number *newest*."""
        if not self._again:
            self._ledger.last = newest
            self._finish()
            return
        if self._anchor is None:
            self._newest = max(newest - self._live, 0)
        last = self._ledger.last
        if last is None:
            self._finish_without(self._newest)
        elif self._newest < last:
            self._finish_elsewhere()
        elif self._newest == last:
            self._finish()
        else:
            self._reply = self._on_piece
            self._ask_for_piece(max(last + 1 - CONTEXT, 1))

    def _ask_for_piece(self, first: int) -> None:
        self._recalled.clear()
        self._end = min(first + PIECE - 1, self._newest)
        self._ask(f"/history #{first}-#{self._end}", self._end)

    def _on_piece(self, reply: Event) -> None:
        if not isinstance(reply, Recalled):
            last = self._ledger.last or 0
            self._ledger.skip(self._newest)
            self._show(Missed(last + 1, self._newest))
            self._finish()
            return
        self._recalled.append(reply)
        if reply.seq < self._end:
            return
        start: int | None = 0
        if not self._placed:
            self._placed = True
            start = self._ledger.unseen([(found.seq, str(found.line)) for found in self._recalled])
        if start is None:
            self._finish_elsewhere()
            return
        for found in self._recalled[start:]:
            self._ledger.recalled(found.seq, str(found.line))
            self._missed(found.line)
        # What was seen may reach further than was counted, where lines were hidden.
        self._ledger.last = self._end
        if self._end < self._newest:
            self._ask_for_piece(self._end + 1)
        else:
            self._finish()

    # The end

    def _finish_elsewhere(self) -> None:
        self._show(Notice("The server's history is not the one of before."))
        self._ledger.skip(None)
        self._finish_without()

    def _finish_without(self, newest: int | None = None) -> None:
        """Without numbers: of what the server shows to every newcomer, show what was not shown.

        *newest* is the number of its last line, if that is known.
        """
        self._ledger.last = None
        if self._again:
            start = self._ledger.unseen([(0, str(line)) for line in self._replay]) or 0
            if not start and newest is not None and newest > len(self._replay):
                self._show(Notice("Earlier lines may be missing here: /history 100 shows them."))
            for line in self._replay[start:]:
                self._ledger.saw(str(line))
                self._missed(line)
            self._ledger.last = newest
        self._finish()

    def _finish(self) -> None:
        self._over = True
        later, self._later = self._later, []
        for event in later:
            self._tell(event)
        self._done()
