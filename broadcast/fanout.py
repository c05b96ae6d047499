"""The hot path: why telling five hundred people costs little more than telling one, five hundred times over in C.

* A *burst* is all that has come back from the journal when the reactor gets to it. It is rendered once for each view,
  and the same bytes object goes to every reader: the work per reader is one ``send``, however many lines there are.
* Readers who owe nothing stand in one flat mapping, *reader to bound* ``socket.send``. ``Fanout._offer`` walks it and
  does nothing else: no membership test, no attribute look-up, no call of ours.
* Authors are taken out of it first. They get the burst without their own lines: slices of the same bytes, one
  ``sendmsg``.
* Who does not take everything leaves the mapping and becomes a cursor in the window (``readers.py``) until they have
  caught up. They cost nobody anything.
* A flush over many readers lets the reactor go on every few milliseconds. One flush at a time: what is committed
  meanwhile is the next burst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from broadcast.core.limits import DEFAULTS
from broadcast.window import Window

if TYPE_CHECKING:
    from broadcast.core.interfaces import Burst, Wire
    from broadcast.outlets import Send
    from broadcast.readers import Reader
    from broadcast.window import Rendering, Told

SLICE: Final = 128
"""So many sends between two looks at the clock: about a millisecond."""
TURN_SECONDS: Final = 0.005
"""So long a flush goes on before the reactor has its turn (PERFORMANCE: no turn takes longer than 20 ms)."""

Soon: TypeAlias = Callable[[Callable[[], None]], object]
Sends: TypeAlias = "dict[Reader, Send]"


class Fanout:
    """All readers of one room; its audience.

    *soon* runs a function in a later turn of the reactor, *now* tells seconds that never go back.
    """

    def __init__(
        self,
        soon: Soon,
        now: Callable[[], float],
        window: Window | None = None,
        pending: int = DEFAULTS.pending_bytes,
    ) -> None:
        self.window = window or Window()
        self.pending = pending
        """So many bytes of answers and private lines wait for one reader (HARDENING)."""
        self.sent = 0
        """How many bytes were sent to readers."""
        self.deliveries = 0
        """How many lines readers took as they were told, each once for each reader."""
        self.missed = 0
        """How many lines lagging readers were told that they have missed, each once for each reader."""
        self._soon = soon
        self._now = now
        self._readers: dict[int, Reader] = {}
        self._current: dict[Wire, Sends] = {}
        # While a flush waits for its next turn: those whom it has not reached.
        self._ahead: dict[Wire, Sends] = {}
        self._burst: Told | None = None
        self._told: Callable[[], None] | None = None

    def tell(self, burst: Burst, told: Callable[[], None]) -> None:
        """Offer *burst* to every reader, perhaps over several turns, then call *told*."""
        self._burst = self.window.add(burst)
        self._told = told
        apart = [self._readers[session] for session in burst.edits if session in self._readers]
        for reader in apart:
            if not reader.lagging:
                del self._current[reader.wire][reader]
        self._ahead = {wire: sends.copy() for wire, sends in self._current.items() if sends}
        for reader in apart:
            if reader.lagging:
                reader.keep(self._burst)
            elif reader.serve(self._burst):
                self.enter(reader)
        self._flush()

    def _flush(self) -> None:
        """Offer the burst to those who are ahead, as long as this turn may take."""
        assert self._burst is not None
        assert self._told is not None
        until = self._now() + TURN_SECONDS
        while self._ahead:
            wire, sends = next(iter(self._ahead.items()))
            rendering = self._burst.rendering(wire)
            while sends and rendering.payload:
                if self._now() > until:
                    self._soon(self._flush)
                    return
                self._offer(rendering, [sends.popitem() for _ in range(min(SLICE, len(sends)))])
            del self._ahead[wire]
        self.window.trim()
        self._burst = None
        self._told()

    def _offer(self, rendering: Rendering, readers: Sequence[tuple[Reader, Send]]) -> None:
        """The loop that everything else is there for."""
        payload = rendering.payload
        size = len(payload)
        behind = []
        for reader, send in readers:
            try:
                taken = send(payload)
            except OSError:
                # Nothing was taken. Where the connection is broken, the transport will find out.
                taken = 0
            if taken != size:
                behind.append((reader, taken))
        self.sent += size * len(readers)
        self.deliveries += rendering.shown * (len(readers) - len(behind))
        for reader, taken in behind:
            self.sent -= size - taken
            self.leave(reader)
            assert self._burst is not None
            reader.fall_behind(self._burst, taken)

    # Who is where

    @property
    def lagging(self) -> int:
        """How many readers lag now; it looks at each of them."""
        return sum(reader.lagging for reader in self._readers.values())

    def join(self, reader: Reader) -> None:
        """*reader* is told what happens from here on; those who have caught up are to ``enter`` too."""
        self._readers[reader.session] = reader

    def part(self, reader: Reader) -> None:
        """*reader* is told nothing more."""
        if self._readers.get(reader.session) is reader:
            del self._readers[reader.session]

    def enter(self, reader: Reader) -> None:
        """*reader* owes nothing: the next burst can be offered to them with the others."""
        sends = self._current.get(reader.wire)
        if sends is None:
            sends = self._current[reader.wire] = {}
        sends[reader] = reader.outlet.send

    def leave(self, reader: Reader) -> Told | None:
        """Take *reader* out of those who owe nothing; the burst that has not reached them, if there is one."""
        if reader.wire in self._current:
            self._current[reader.wire].pop(reader, None)
        missed = self._ahead.get(reader.wire, {}).pop(reader, None)
        return None if missed is None else self._burst
