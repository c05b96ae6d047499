"""The conversation in the room, over connections that come and go: lines that are sent, and events that arrive."""

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
    """The conversation of one user. *send* sends lines, *front* shows events, *naming* holds the own nickname."""

    def __init__(self, front: Front, naming: Naming, send: Callable[[str], None]) -> None:
        self.company = Company()
        self.ledger = Ledger()
        self.own = OwnLines()
        self.receipts = False
        """Whether the server confirms own lines with their numbers."""
        self.room = ""
        """The room of the last move, even if the connection was lost during the move; empty for the first room."""
        self._moves: deque[str] = deque()
        """The rooms of the moves that the server has not answered yet; an empty name is the first room."""
        self._front = front
        self._naming = naming
        self._send = send
        self._receipts_shown = False
        self._answers = Answers()
        self._choices = Choices()
        self._counting = False

    @property
    def away(self) -> bool:
        """Whether the user is away."""
        return self._choices.away is not None

    def arrive(self, names: Sequence[str], others: int) -> None:
        """Begin a conversation in the room with *others* people, of whom *names* are known."""
        self.company.enter(names, others)
        self._choices.arrive()
        self._counting = False

    def settle(self) -> None:
        """Continue after catching up: set the user's choices on the server again."""
        self._choices.restore(self._ask)

    def leave(self) -> None:
        """End the conversation, because the connection is lost."""
        if self._moves:
            self._go(self._moves[-1])
            self._moves.clear()
        self.company.leave()
        self._answers.forget()

    def post(self, line: str) -> None:
        """Send *line*, as typed. Answer here if only the client knows the answer, as for ``/receipts``."""
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
        """Probe the server. The user does not see the answer."""
        self._ask("/ping", _pong())

    def hear(self, event: Event) -> None:
        """Handle an event in the room."""
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
        """Update the people after a move to another room."""
        self.company.enter(event.names, event.others)
        self._recount()
        self._front.changed()

    def _go(self, room: str) -> None:
        """Count the lines of *room* from now on. Its numbers are not known yet."""
        self.room = room
        self.ledger.skip(None)

    def stay(self) -> None:
        """Stay in the first room, because the server has refused to let the client go back to another one."""
        self._go("")

    def recall(self, line: Kept) -> None:
        """Show a line of the time while the connection was lost, or shortly before."""
        if self.own.recalled(line):
            kept = type(line)
            line = kept(line.nick, line.text, line.time, own=True)
        if not self._choices.hides(line):
            self._front.shown(line)

    def show(self, event: Event) -> None:
        """Show *event*, which is in the ledger already."""
        if self.company.follow(event, self._naming.nick):
            self._front.changed()
        if not self._choices.hides(event):
            self._front.shown(event)

    def _ask(self, command: str, answer: Expected) -> None:
        """Send a command of the client's own."""
        self._answers.expect(answer, quiet=True)
        self._send(command)

    def _answer_to(self, line: str) -> Expected | None:
        """Return the expected answer to *line* (clean), or None if the client does not need it."""
        if wanted := _nick.fullmatch(line):
            nick = re.escape(wanted[1])
            refusal = rf"{nick} (?:is|looks) .*|a nickname .*|.*/nick\b.*"
            return expected(rf"you are ({nick})\.", self._called, refusal)
        if _names.fullmatch(line):
            return self._number()
        return _pong() if _ping.fullmatch(line) else self._choices.answer_to(line)

    def _number(self) -> Expected:
        """Return the expected answer to ``/names``."""
        return expected(r"(\d{1,9}) here: .*", self._counted, r".*/names\b.*", more=",")

    def _kept(self, seq: int) -> None:
        """Show an own line that is stored as number *seq*."""
        own = self.own.kept()
        self.ledger.receipt(seq, str(own or ""))
        if own is not None:
            self._front.shown(type(own)(self._naming.nick, own.text, own=True))

    def _recount(self) -> None:
        """Ask for the number of people, unless the server hides joins and leaves. Then the number is unknown."""
        if self._choices.quiet:
            if self.company.here:
                self.company.here = 0
                self._front.changed()
        elif not self.company.here and not self._counting:
            self._counting = True
            self._ask("/names", self._number())

    def _counted(self, found: re.Match[str]) -> None:
        """Set the number of people from the answer to ``/names``."""
        if not self._choices.quiet:
            self.company.here = int(found[1])
            self._counting = False
            self._front.changed()

    def _called(self, found: re.Match[str]) -> None:
        """Set the own nickname from the answer to ``/nick``."""
        self._naming.wish(found[1])
        self._front.changed()


def _pong() -> Expected:
    """Return the expected answer to ``/ping``, also of a server that has no such command."""
    return expected("pong", nobody, r".*/ping\b.*")
