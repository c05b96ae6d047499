"""What somebody says and hears in the room, over connections that come and go; it opens and closes none."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from broadcast.client.answers import Answers, Expected, expected, nobody
from broadcast.client.choices import Choices
from broadcast.client.company import Company
from broadcast.client.lines import LINE_BYTES, Answer, Emoted, Entered, Error, Event, Kept, Missed, Receipt, Said
from broadcast.client.numbers import Ledger
from broadcast.client.saying import OwnLines, cleaned, spoken

if TYPE_CHECKING:
    from broadcast.client.front import Front
    from broadcast.client.naming import Naming

_receipts: Final = re.compile(r"/receipts(?: +(on|off)?)? *", re.IGNORECASE)
_nick: Final = re.compile(r"/nick +(\S+)\s*", re.IGNORECASE)
_names: Final = re.compile(r"/(?:names|who|users|list)(?: .*)?", re.IGNORECASE)
_move: Final = re.compile(r"/(?:join +(\S+)|leave)\s*", re.IGNORECASE)
_ping: Final = re.compile(r"/ping(?: .*)?", re.IGNORECASE)


class Talk:
    """Lines are posted with *send*, and what arrives is shown on *front*; *naming* knows who one is."""

    def __init__(self, front: Front, naming: Naming, send: Callable[[str], None]) -> None:
        self.company = Company()
        self.ledger = Ledger()
        self.own = OwnLines()
        self.receipts = False
        """Whether the server tells the numbers of one's own lines, and so when they are kept."""
        self.room = ""
        """The room of the last move, also if the connection was lost during the move; empty: the first room."""
        self._moves: deque[str] = deque()
        """The rooms of the moves that the server has not answered yet; empty for the first room."""
        self._front = front
        self._naming = naming
        self._send = send
        self._receipts_shown = False
        self._answers = Answers()
        self._choices = Choices()
        self._counting = False

    @property
    def away(self) -> bool:
        """Whether one has said that one is away."""
        return self._choices.away is not None

    def arrive(self, names: Sequence[str], others: int) -> None:
        """One is in the room with so many *others*, of whom *names* are known."""
        self.company.enter(names, others)
        self._choices.arrive()
        self._counting = False

    def settle(self) -> None:
        """Whatever happened meanwhile is known: from here on the answers to what is sent come here."""
        self._choices.restore(self._ask)

    def leave(self) -> None:
        """One is in no room any more."""
        if self._moves:
            self._go(self._moves[-1])
            self._moves.clear()
        self.company.leave()
        self._answers.forget()

    def post(self, line: str) -> None:
        """Send *line*, as typed; what only this side knows is answered here: it always has receipts on, for example."""
        line = cleaned(line)
        if (switch := _receipts.fullmatch(line)) and self.receipts:
            word = (switch[1] or "").casefold()
            self._receipts_shown = word == "on" if word else not self._receipts_shown
            self._front.shown(Answer(f"receipts are {'on' if self._receipts_shown else 'off'}."))
            return
        if len(line.encode("utf-8", "replace")) > LINE_BYTES:
            self._front.shown(Error(f"a line holds at most {LINE_BYTES} bytes."))
            return
        if (nick := self._choices.unignored_here(line)) is not None:
            self._front.shown(Answer(f"you no longer ignore {nick}."))
            return
        if (move := _move.fullmatch(line)) is not None:
            self._moves.append((move[1] or "").casefold())
        if (answer := self._answer_to(line)) is not None:
            self._answers.expect(answer, quiet=False)
        if (own := spoken(line, self._naming.nick)) is not None:
            if self.receipts:
                self.own.sent(line, own)
            else:
                self.ledger.saw(str(own))
                self._front.shown(own)
        self._send(line)

    def ping(self) -> None:
        """Ask whether the server is there; that it answers is enough, and nobody sees it."""
        self._ask("/ping", _pong())

    def hear(self, event: Event) -> None:
        """Something arrived in the room."""
        away = self.away
        hidden = self._answers.take(event)
        if self.away is not away:
            self._front.changed()
        self._recount()
        if hidden:
            return
        match event:
            case Said() | Emoted():
                self.ledger.saw(str(event))
            case Receipt(seq=seq):
                self._kept(seq)
                if not self._receipts_shown:
                    return
            case Error(text=text):
                self.own.refused(text)
                if self._moves and not text.startswith("not kept:"):
                    self._moves.popleft()
            case Entered(room=room):
                # The server calls the first room by its name.
                self._go(room if not self._moves or self._moves.popleft() else "")
                self.enter(event)
            case Missed(last=last):
                self.ledger.skip(last)
            case _:
                pass
        self.show(event)
        self._choices.met(event, self._ask)

    def enter(self, event: Entered) -> None:
        """Take in who is in the room that the client has moved to."""
        self.company.enter(event.names, event.others)
        self._recount()
        self._front.changed()

    def _go(self, room: str) -> None:
        """Count the lines of *room* from now on; its numbers are not known yet."""
        self.room = room
        self.ledger.skip(None)

    def stay(self) -> None:
        """The client stays in the first room, because the server refused to let it go back to another one."""
        self._go("")

    def recall(self, line: Kept) -> None:
        """Show a line that was said while the connection was lost, or shortly before."""
        if self.own.recalled(line):
            kept = type(line)
            line = kept(line.nick, line.text, line.time, own=True)
        if not self._choices.hides(line):
            self._front.shown(line)

    def show(self, event: Event) -> None:
        """Show *event*, which the ledger knows of."""
        if self.company.follow(event, self._naming.nick):
            self._front.changed()
        if not self._choices.hides(event):
            self._front.shown(event)

    def _ask(self, command: str, answer: Expected) -> None:
        """Send a command of the client's own."""
        self._answers.expect(answer, quiet=True)
        self._send(command)

    def _answer_to(self, line: str) -> Expected | None:
        """The answer to *line* (clean), if it is one that somebody must know."""
        if wanted := _nick.fullmatch(line):
            nick = re.escape(wanted[1])
            refusal = rf"{nick} (?:is|looks) .*|a nickname .*|.*/nick\b.*"
            return expected(rf"you are ({nick})\.", self._called, refusal)
        if _names.fullmatch(line):
            return self._number()
        return _pong() if _ping.fullmatch(line) else self._choices.answer_to(line)

    def _number(self) -> Expected:
        """The answer to ``/names``."""
        return expected(r"(\d{1,9}) here: .*", self._counted, r".*/names\b.*", more=",")

    def _kept(self, seq: int) -> None:
        """One's own line is kept."""
        own = self.own.kept()
        self.ledger.receipt(seq, str(own or ""))
        if own is not None:
            self._front.shown(type(own)(self._naming.nick, own.text, own=True))

    def _recount(self) -> None:
        """Where it is not told who comes and goes, nobody knows how many are here; afterwards, the server does."""
        if self._choices.quiet:
            if self.company.here:
                self.company.here = 0
                self._front.changed()
        elif not self.company.here and not self._counting:
            self._counting = True
            self._ask("/names", self._number())

    def _counted(self, found: re.Match[str]) -> None:
        """So many are here."""
        if not self._choices.quiet:
            self.company.here = int(found[1])
            self._counting = False
            self._front.changed()

    def _called(self, found: re.Match[str]) -> None:
        """One has another nickname."""
        self._naming.wish(found[1])
        self._front.changed()


def _pong() -> Expected:
    """The answer to ``/ping``, or that of a server that has no such command."""
    return expected("pong", nobody, r".*/ping\b.*")
