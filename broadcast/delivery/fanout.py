"""The hot path: why telling five hundred people costs little more than telling one, five hundred times over in C.

* A *burst* is all that has come back from the journal when the reactor gets to it. It is rendered once for each view,
  and the same bytes object goes to every reader: the work per reader is one ``send``, however many lines there are.
* Readers who owe nothing stand in one flat mapping, *reader to bound* ``socket.send``. ``Fanout._offer`` walks it and
  does nothing else: no membership test, no attribute look-up, no call of ours.
* Authors are taken out of it first. They get the burst without their own lines: slices of the same bytes, one
  ``sendmsg``.
* Who does not take everything leaves the mapping and becomes a cursor in the window (``subscriber.py``) until they have
  caught up. They cost nobody anything.
* Telling many readers lets the reactor go on every few milliseconds, and so do many who catch up. One
  burst at a time: what is committed meanwhile is the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from broadcast.core.limits import DEFAULTS
from broadcast.core.time_slice import Share, Soon
from broadcast.delivery.replay_buffer import Window

if TYPE_CHECKING:
    from broadcast.core.interfaces import Burst, Step, Wire
    from broadcast.delivery.replay_buffer import Rendering, Told
    from broadcast.delivery.subscriber import Reader
    from broadcast.net.writers import Send

SLICE: Final = 128
"""So many sends between two looks at the clock: about a millisecond."""
SLICE_BYTES: Final = 4 * 1024 * 1024
"""At most so much is sent between them, or one send: large ones take longer."""

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
        self._readers: dict[int, Reader] = {}
        self._current: dict[Wire, Sends] = {}
        # Whom the burst that is being told has not reached: authors, and the others.
        self._apart: dict[Reader, None] = {}
        self._ahead: dict[Wire, Sends] = {}
        self._burst: Told | None = None
        self._telling: Iterator[Step] | None = None
        self._tell_share = Share(self._tell_on, soon, now)
        self._steps: OrderedDict[Callable[[], bool], None] = OrderedDict()
        self._stepping = False
        self._step_share = Share(self._step, soon, now)

    def tell(self, burst: Burst, then: Iterator[Step]) -> None:
        """Offer *burst* to every reader, then do the steps of *then*, all of it perhaps over several turns.

        A step that raises an exception is not done again, and the next turn goes on with the next one: whatever is
        wrong with one peer, the others are told.
        """
        self._burst = told = self.window.add(burst)
        for session in burst.edits:
            reader = self._readers.get(session)
            if reader is None:
                continue
            if reader.lagging:
                reader.keep(told)
            else:
                self._current[reader.wire].pop(reader, None)
                self._apart[reader] = None
        self._ahead = {wire: sends.copy() for wire, sends in self._current.items() if sends}
        self._telling = chain(self._reach(told), then)
        self._tell_on()

    def _tell_on(self) -> None:
        """Go on with what is being told, as far as this turn's share goes."""
        while (telling := self._telling) is not None and not self._tell_share.over():
            step = next(telling, None)
            if step is not None:
                step()
            elif self._telling is telling:  # its end may have begun to tell the next burst
                self._telling = None

    def _reach(self, told: Told) -> Iterator[Step]:
        """The steps of telling: authors, then the others, slice by slice."""
        while self._apart:
            reader, _ = self._apart.popitem()
            yield partial(self._serve, reader, told)
        while self._ahead:
            wire, sends = next(iter(self._ahead.items()))
            rendering = told.rendering(wire)
            size = len(rendering.payload)
            step = max(1, min(SLICE, SLICE_BYTES // (size or 1)))
            while sends and size:
                yield partial(self._offer, rendering, [sends.popitem() for _ in range(min(step, len(sends)))])
            del self._ahead[wire]
        # Who has taken all of it never comes back to it.
        told.keep_for(session for session in told.edits if self._may_come_back(session))
        self.window.trim()
        self._burst = None

    def _may_come_back(self, session: int) -> bool:
        """Whether *session* may still have to read what has been told: as a cursor, perhaps one that departs."""
        reader = self._readers.get(session)
        return reader is None or reader.lagging

    def _serve(self, reader: Reader, told: Told) -> None:
        if reader.serve(told):
            self.enter(reader)

    def _offer(self, rendering: Rendering, readers: Sequence[tuple[Reader, Send]]) -> None:
        """The loop that everything else is there for."""
        payload = rendering.payload
        size = len(payload)
        behind = []
        for reader, send in readers:
            try:
                taken = send(payload)
            except OSError as error:
                taken = reader.failed(error)
            if taken != size:
                behind.append((reader, taken))
        self.sent += size * len(readers)
        self.deliveries += rendering.shown * (len(readers) - len(behind))
        for reader, taken in behind:
            self.sent -= size - taken
            self.leave(reader)
            assert self._burst is not None
            reader.fall_behind(self._burst, taken)

    # What each of many may have to do

    def in_turn(self, step: Callable[[], bool]) -> None:
        """Call *step* (short, for one peer) in turn with those of others, again for as long as it returns True.

        Where there is time in this turn of the reactor, that is at once.
        """
        self._steps[step] = None
        if not self._stepping:
            self._step()

    def _step(self) -> None:
        """Take steps, one of each peer, then the next of each, as far as this turn's share goes."""
        self._stepping = True
        try:
            while self._steps and not self._step_share.over():
                step, _ = self._steps.popitem(last=False)
                if step():
                    self._steps[step] = None
        finally:
            self._stepping = False

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
        waits = reader in self._apart or reader in self._ahead.get(reader.wire, ())
        self._apart.pop(reader, None)
        self._ahead.get(reader.wire, {}).pop(reader, None)
        return self._burst if waits else None
