"""Which lines one has seen: the number of the last one, found by counting, and what stood around it; no connection.

Numbers have no gaps, but lines come without theirs. One that is known can be counted on from: that of a receipt, which
stands in the place of one's own line, that of a missed-lines notice, or that of the newest line when one arrived. What
is hidden from somebody (the lines of those whom they ignore) is not counted, so the number may be too low until the
next receipt. Therefore what is asked for after a lost connection begins a little earlier, and the place where one was
is found by what was said there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

CONTEXT: Final = 20
"""So many lines that were seen are asked for again, to find the place by what they say."""
REMEMBERED: Final = 1000
"""So many lines that were shown are remembered."""


class Place(NamedTuple):
    """Where the newest line is in what was shown."""

    after: int
    """How many lines were shown after it, at least."""
    exact: bool
    """Whether there is no other place where it could be."""


def locate(line: str, lines: Sequence[str], since: int) -> Place:
    """Find *line*, the newest one at some moment while the last *since* of *lines* arrived.

    Where several places are possible, it is the one with the fewest lines after it: rather see a line twice than never.
    A place before the first of *lines* is possible too, for what was said before those was not shown.
    """
    places = [after for after in range(since + 1) if after >= len(lines) or lines[-1 - after] == line]
    return Place(places[0], len(places) == 1) if places else Place(0, False)


class _Shown(NamedTuple):
    text: str
    own: int = 0
    """The number, where it is one's own line: what is kept may differ from what was typed."""


class Ledger:
    """What has been shown."""

    def __init__(self) -> None:
        self.last: int | None = None
        """The number of the last line that was shown, or a lower one; None: not known."""
        self._shown: deque[_Shown] = deque(maxlen=REMEMBERED)

    def saw(self, text: str) -> None:
        """The line *text* was shown, the next one that is not hidden."""
        if self.last is not None:
            self.last += 1
        self._shown.append(_Shown(text))

    def recalled(self, seq: int, text: str) -> None:
        """The line *text* was shown, with its number."""
        self.last = seq
        self._shown.append(_Shown(text))

    def receipt(self, seq: int, text: str) -> None:
        """One's own line was shown, and has this number; *text* is what was typed."""
        self.last = seq
        self._shown.append(_Shown(text, seq))

    def skip(self, last: int | None) -> None:
        """The lines up to *last* will not be shown, or nothing is known any more (None)."""
        self.last = last
        self._shown.clear()

    def unseen(self, recalled: Sequence[tuple[int, str]]) -> int | None:
        """Where in *recalled* (numbers and texts, in order) begins what was not shown; None: nothing of it is known.

        The place is the one that ``last`` says, if what stands before it is what was shown; otherwise the first of
        those before which most of that stands. *recalled* begins before ``last``; where that is not known, with
        anything, and the numbers are 0: they do not count.
        """
        counted = next((at for at, (seq, _text) in enumerate(recalled) if seq == self.last), -1)
        if not self._shown or (self.last is not None and counted < 0):
            return counted + 1
        shown = [*self._shown][-CONTEXT:]
        whole = min(len(shown), counted + 1)
        if whole and _matching(recalled[: counted + 1], shown) >= whole:
            return counted + 1
        scores = [_matching(recalled[: end + 1], shown) for end in range(len(recalled))]
        best = max(scores, default=0)
        return scores.index(best) + 1 if best and best * 2 >= whole else None


def _matching(recalled: Sequence[tuple[int, str]], shown: Sequence[_Shown]) -> int:
    """How many of the last lines *shown* stand in *recalled*, the last one at its end; others may stand between."""
    left = list(shown)
    for at, (seq, text) in enumerate(reversed(recalled)):
        if not left:
            break
        if left[-1].text == text or (seq and left[-1].own == seq):
            left.pop()
        elif at == 0:
            return 0
    return len(shown) - len(left)
