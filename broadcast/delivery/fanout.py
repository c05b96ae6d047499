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
from broadcast.core.time_slice import CallSoon, TimeSlice
from broadcast.delivery.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from broadcast.core.interfaces import Batch, Callback, Encoder
    from broadcast.delivery.replay_buffer import EncodedBatch, PlacedBatch
    from broadcast.delivery.subscriber import Subscriber
    from broadcast.net.writers import Send

SENDS_PER_SLICE: Final = 128
"""So many sends between two looks at the clock: about a millisecond."""
SLICE_BYTES: Final = 4 * 1024 * 1024
"""At most so much is sent between them, or one send: large ones take longer."""

Sends: TypeAlias = "dict[Subscriber, Send]"


class Fanout:
    """All readers of one room; its audience.

    *soon* runs a function in a later turn of the reactor, *now* tells seconds that never go back.
    """

    def __init__(
        self,
        call_soon: CallSoon,
        now: Callable[[], float],
        replay_buffer: ReplayBuffer | None = None,
        private_queue_bytes: int = DEFAULTS.private_queue_bytes,
    ) -> None:
        self.replay_buffer = replay_buffer or ReplayBuffer()
        self.private_queue_bytes = private_queue_bytes
        """So many bytes of answers and private lines wait for one reader (HARDENING)."""
        self.sent_bytes = 0
        """How many bytes were sent to readers."""
        self.deliveries = 0
        """How many lines readers took as they were told, each once for each reader."""
        self.missed_messages = 0
        """How many lines lagging readers were told that they have missed, each once for each reader."""
        self._subscribers: dict[int, Subscriber] = {}
        self._current: dict[Encoder, Sends] = {}
        # Whom the burst that is being told has not reached: authors, and the others.
        self._overridden: dict[Subscriber, None] = {}
        self._unsent: dict[Encoder, Sends] = {}
        self._batch: PlacedBatch | None = None
        self._delivery: Iterator[Callback] | None = None
        self._delivery_slice = TimeSlice(self._continue_delivery, call_soon, now)
        self._steps: OrderedDict[Callable[[], bool], None] = OrderedDict()
        self._stepping = False
        self._step_slice = TimeSlice(self._run_steps, call_soon, now)

    def publish(self, burst: Batch, then: Iterator[Callback]) -> None:
        """Offer *burst* to every reader, then do the steps of *then*, all of it perhaps over several turns.

        A step that raises an exception is not done again, and the next turn goes on with the next one: whatever is
        wrong with one peer, the others are told.
        """
        self._batch = told = self.replay_buffer.add(burst)
        for session in burst.overrides:
            reader = self._subscribers.get(session)
            if reader is None:
                continue
            if reader.lagging:
                reader.queue_overrides(told)
            else:
                self._current[reader.encoder].pop(reader, None)
                self._overridden[reader] = None
        self._unsent = {wire: sends.copy() for wire, sends in self._current.items() if sends}
        self._delivery = chain(self._delivery_steps(told), then)
        self._continue_delivery()

    def _continue_delivery(self) -> None:
        """Go on with what is being told, as far as this turn's share goes."""
        while (telling := self._delivery) is not None and not self._delivery_slice.exhausted():
            step = next(telling, None)
            if step is not None:
                step()
            elif self._delivery is telling:  # its end may have begun to tell the next burst
                self._delivery = None

    def _delivery_steps(self, told: PlacedBatch) -> Iterator[Callback]:
        """The steps of telling: authors, then the others, slice by slice."""
        while self._overridden:
            reader, _ = self._overridden.popitem()
            yield partial(self._send_overridden, reader, told)
        while self._unsent:
            wire, sends = next(iter(self._unsent.items()))
            rendering = told.encoded(wire)
            size = len(rendering.payload)
            step = max(1, min(SENDS_PER_SLICE, SLICE_BYTES // (size or 1)))
            while sends and size:
                yield partial(self._send_slice, rendering, [sends.popitem() for _ in range(min(step, len(sends)))])
            del self._unsent[wire]
        # Who has taken all of it never comes back to it.
        told.drop_overrides_except(session for session in told.overrides if self._may_reread(session))
        self.replay_buffer.trim()
        self._batch = None

    def _may_reread(self, session: int) -> bool:
        """Whether *session* may still have to read what has been told: as a cursor, perhaps one that departs."""
        reader = self._subscribers.get(session)
        return reader is None or reader.lagging

    def _send_overridden(self, reader: Subscriber, told: PlacedBatch) -> None:
        if reader.send_batch(told):
            self.mark_current(reader)

    def _send_slice(self, rendering: EncodedBatch, readers: Sequence[tuple[Subscriber, Send]]) -> None:
        """The loop that everything else is there for."""
        payload = rendering.payload
        size = len(payload)
        behind = []
        for reader, send in readers:
            try:
                taken = send(payload)
            except OSError as error:
                taken = reader.send_failed(error)
            if taken != size:
                behind.append((reader, taken))
        self.sent_bytes += size * len(readers)
        self.deliveries += rendering.shown * (len(readers) - len(behind))
        for reader, taken in behind:
            self.sent_bytes -= size - taken
            self.mark_behind(reader)
            assert self._batch is not None
            reader.fall_behind(self._batch, taken)

    # What each of many may have to do

    def schedule(self, step: Callable[[], bool]) -> None:
        """Call *step* (short, for one peer) in turn with those of others, again for as long as it returns True.

        Where there is time in this turn of the reactor, that is at once.
        """
        self._steps[step] = None
        if not self._stepping:
            self._run_steps()

    def _run_steps(self) -> None:
        """Take steps, one of each peer, then the next of each, as far as this turn's share goes."""
        self._stepping = True
        try:
            while self._steps and not self._step_slice.exhausted():
                step, _ = self._steps.popitem(last=False)
                if step():
                    self._steps[step] = None
        finally:
            self._stepping = False

    # Who is where

    @property
    def lagging_count(self) -> int:
        """How many readers lag now; it looks at each of them."""
        return sum(reader.lagging for reader in self._subscribers.values())

    def subscribe(self, reader: Subscriber) -> None:
        """*reader* is told what happens from here on; those who have caught up are to ``enter`` too."""
        self._subscribers[reader.session] = reader

    def unsubscribe(self, reader: Subscriber) -> None:
        """*reader* is told nothing more."""
        if self._subscribers.get(reader.session) is reader:
            del self._subscribers[reader.session]

    def mark_current(self, reader: Subscriber) -> None:
        """*reader* owes nothing: the next burst can be offered to them with the others."""
        sends = self._current.get(reader.encoder)
        if sends is None:
            sends = self._current[reader.encoder] = {}
        sends[reader] = reader.writer.send

    def mark_behind(self, reader: Subscriber) -> PlacedBatch | None:
        """Take *reader* out of those who owe nothing; the burst that has not reached them, if there is one."""
        if reader.encoder in self._current:
            self._current[reader.encoder].pop(reader, None)
        waits = reader in self._overridden or reader in self._unsent.get(reader.encoder, ())
        self._overridden.pop(reader, None)
        self._unsent.get(reader.encoder, {}).pop(reader, None)
        return self._batch if waits else None
