"""What somebody says and hears in the room, over connections that come and go; it opens and closes none."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from broadcast.client.company import Company
from broadcast.client.lines import LINE_BYTES, Answer, Emoted, Error, Event, Kept, Missed, Receipt, Said
from broadcast.client.numbers import Ledger
from broadcast.client.saying import OwnLines, cleaned, spoken

if TYPE_CHECKING:
    from broadcast.client.front import Front
    from broadcast.client.naming import Naming

_receipts: Final = re.compile(r"/receipts(?: +(on|off)?)? *", re.IGNORECASE)
_nick: Final = re.compile(r"/nick +(\S+)\s*", re.IGNORECASE)


class Talk:
    """Lines are posted with *send*, and what arrives is shown on *front*; *naming* knows who one is."""

    def __init__(self, front: Front, naming: Naming, send: Callable[[str], None]) -> None:
        self.company = Company()
        self.ledger = Ledger()
        self.own = OwnLines()
        self.receipts = False
        """Whether the server tells the numbers of one's own lines, and so when they are kept."""
        self._front = front
        self._naming = naming
        self._send = send
        self._receipts_shown = False
        self._wanted: deque[str] = deque(maxlen=20)

    def post(self, line: str) -> None:
        """Send *line*, as typed; ``/receipts`` is answered here, because the client always has them on."""
        line = cleaned(line)
        if (switch := _receipts.fullmatch(line)) and self.receipts:
            word = (switch[1] or "").casefold()
            self._receipts_shown = word == "on" if word else not self._receipts_shown
            self._front.shown(Answer(f"receipts are {'on' if self._receipts_shown else 'off'}."))
            return
        if len(line.encode("utf-8", "replace")) > LINE_BYTES:
            self._front.shown(Error(f"a line holds at most {LINE_BYTES} bytes."))
            return
        if wanted := _nick.fullmatch(line):
            self._wanted.append(wanted[1])
        if (own := spoken(line, self._naming.nick)) is not None:
            if self.receipts:
                self.own.sent(line, own)
            else:
                self.ledger.saw(str(own))
                self._front.shown(own)
        self._send(line)

    def hear(self, event: Event) -> None:
        """Something arrived in the room."""
        match event:
            case Said() | Emoted():
                self.ledger.saw(str(event))
            case Receipt(seq=seq):
                self._kept(seq)
                if not self._receipts_shown:
                    return
            case Error(text=text) if text.startswith("not kept:") and self.own:
                self.own.refused()
            case Missed(last=last):
                self.ledger.skip(last)
            case Answer(text=text) if self._wanted:
                self._called(text)
        self.show(event)

    def recall(self, line: Kept) -> None:
        """Show a line that was said while the connection was lost, or shortly before."""
        if self.own.recalled(line):
            kept = type(line)
            line = kept(line.nick, line.text, line.time, own=True)
        self._front.shown(line)

    def show(self, event: Event) -> None:
        """Show *event*, which the ledger knows of."""
        if self.company.follow(event, self._naming.nick):
            self._front.changed()
        self._front.shown(event)

    def _kept(self, seq: int) -> None:
        """One's own line is kept."""
        own = self.own.kept()
        self.ledger.receipt(seq, str(own or ""))
        if own is not None:
            self._front.shown(type(own)(self._naming.nick, own.text, own=True))

    def _called(self, text: str) -> None:
        """Perhaps the answer to ``/nick``."""
        for wanted in self._wanted:
            if text.casefold() == f"you are {wanted}.".casefold():
                self._wanted.clear()
                self._naming.wish(text[len("You are ") : -1])
                self._front.changed()
                return
