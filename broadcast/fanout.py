"""The hot path: a burst is rendered once for each view, and the same bytes go to every reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from broadcast.core.events import Marked, NotKept, Whispered
from broadcast.core.interfaces import Burst, Edit, Wire
from broadcast.outlets import Outlet


class Fanout:
    """The readers of one room with one view."""

    def __init__(self, wire: Wire) -> None:
        self.readers: dict[int, Outlet] = {}
        """Session to outlet."""
        self._wire = wire

    def flush(self, burst: Burst) -> None:
        """Offer *burst* to every reader, once."""
        encode = self._wire.encode
        pieces = [b"" if isinstance(event, Marked | NotKept | Whispered) else encode(event) for event in burst.events]
        payload = b"".join(pieces)
        apart = {reader: self.readers.pop(reader) for reader in burst.edits if reader in self.readers}
        if payload:
            for outlet in self.readers.values():
                outlet.offer(payload)
        if apart:
            ends = list(accumulate(map(len, pieces)))
            for reader, outlet in apart.items():
                if own := self._edited(payload, ends, burst.edits[reader]):
                    outlet.offer(own)
            self.readers |= apart

    def _edited(self, payload: bytes, ends: Sequence[int], edits: Sequence[Edit]) -> bytes:
        """*payload* as one reader gets it: what is replaced is cut out of it, the rest are slices of the same bytes."""
        parts = []
        start = 0
        for at, event in edits:
            parts.append(payload[start : ends[at - 1] if at else 0])
            if event is not None:
                parts.append(self._wire.encode(event))
            start = ends[at]
        parts.append(payload[start:])
        return b"".join(parts)


class Readers:
    """All readers of one room, each in the fanout of their view; the room's audience."""

    def __init__(self) -> None:
        self._fanouts: dict[Wire, Fanout] = {}
        self._places: dict[int, Fanout] = {}

    def place(self, reader: int, wire: Wire, outlet: Outlet) -> None:
        """From here on *reader* (a session) gets what is told, through *wire*, at *outlet*; again for another wire."""
        self.remove(reader)
        fanout = self._fanouts.get(wire)
        if fanout is None:
            fanout = self._fanouts[wire] = Fanout(wire)
        fanout.readers[reader] = outlet
        self._places[reader] = fanout

    def remove(self, reader: int) -> None:
        """*reader* gets nothing more; fine for one who never did."""
        fanout = self._places.pop(reader, None)
        if fanout is not None:
            del fanout.readers[reader]

    def tell(self, burst: Burst, told: Callable[[], None]) -> None:
        """Offer *burst* to every reader."""
        for fanout in self._fanouts.values():
            fanout.flush(burst)
        told()
