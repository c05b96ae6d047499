"""The hot path: delivery of each batch to all subscribers of a room.

* Each batch is encoded once for each view. All subscribers with the view are sent the same bytes object. The work per
  subscriber is one ``send``, however many events the batch has.
* The current subscribers of a view are one flat mapping from subscriber to bound ``socket.send``. Per subscriber, the
  loop in ``Fanout._send_slice`` does nothing but this call: no membership test, no attribute look-up.
* Subscribers with overrides, mostly the authors, leave the mapping first and are served separately. Each is sent slices
  of the same bytes, and its overrides, with one ``send``.
* A subscriber whose socket accepts only part of a batch leaves the mapping. From then on it is a cursor into the replay
  buffer (``subscriber.py``), until it has caught up. It costs the others nothing.
* Delivery takes several turns of the reactor if there are many subscribers, and so do the steps of those that lag. One
  batch of a room is in delivery at a time. Events that are committed meanwhile form the next batch. All rooms share the
  time of a turn (``dispatcher.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from broadcast.delivery.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from broadcast.core.interfaces import Batch, Callback, Encoder
    from broadcast.delivery.dispatcher import Dispatcher
    from broadcast.delivery.replay_buffer import EncodedBatch, PlacedBatch
    from broadcast.delivery.subscriber import Subscriber
    from broadcast.net.writers import Send

SENDS_PER_SLICE: Final = 128
"""Maximum number of sends between two checks of the time slice. They take about a millisecond."""
SLICE_BYTES: Final = 4 * 1024 * 1024
"""Maximum number of bytes sent between two checks, unless one send has more. Large sends take longer."""

Sends: TypeAlias = "dict[Subscriber, Send]"
"""Subscribers and the ``send`` of their writers."""


class Fanout:
    """All subscribers of one room: a ``core.interfaces.Publisher`` and a ``delivery.subscriber.Registry``."""

    def __init__(self, dispatcher: Dispatcher, replay_buffer: ReplayBuffer | None = None) -> None:
        self.dispatcher = dispatcher
        self.replay_buffer = replay_buffer or ReplayBuffer()
        self._lagging_count = 0
        """Number of subscribers that read from the replay buffer."""
        self._subscribers: dict[int, Subscriber] = {}
        self._current: dict[Encoder, Sends] = {}
        """Current subscribers, to which the next batch is offered directly."""
        self._overridden: dict[Subscriber, None] = {}
        """Current subscribers with overrides that have not been offered the batch in delivery."""
        self._unsent: dict[Encoder, Sends] = {}
        """The other current subscribers that have not been offered the batch in delivery."""
        self._batch: PlacedBatch | None = None
        """The batch in delivery."""
        self._delivery: Iterator[Callback] = iter(())

    # Delivery of a batch

    def publish(self, batch: Batch, callbacks: Iterator[Callback], first: Iterable[Callback] = ()) -> None:
        """Run *first*, offer *batch* to every subscriber, then run *callbacks*. This can take several reactor turns.

        If a callback raises an exception, the next turn continues with the next one. So a fault of one peer does not
        withhold the batch from the others.
        """
        self._batch = placed = self.replay_buffer.add(batch)
        for session in batch.overrides:
            subscriber = self._subscribers.get(session)
            if subscriber is None:
                continue
            if subscriber.lagging:
                subscriber.queue_overrides(placed)
            else:
                self._current[subscriber.encoder].pop(subscriber, None)
                self._overridden[subscriber] = None
        self._unsent = {encoder: sends.copy() for encoder, sends in self._current.items() if sends}
        self._delivery = chain(first, self._delivery_steps(placed), callbacks)
        self.dispatcher.deliver(self._continue_delivery)

    def _continue_delivery(self) -> bool:
        """Make the next step of the delivery. Return whether there was one."""
        try:
            step = next(self._delivery, None)  # the last callback may publish the next batch
            if step is not None:
                step()
        except BaseException:
            self.dispatcher.deliver(self._continue_delivery)
            raise
        return step is not None

    def _delivery_steps(self, batch: PlacedBatch) -> Iterator[Callback]:
        """Yield the steps of a delivery: first each subscriber with overrides, then the others in slices."""
        while self._overridden:
            subscriber, _ = self._overridden.popitem()
            yield partial(self._send_overridden, subscriber, batch)
        while self._unsent:
            encoder, sends = next(iter(self._unsent.items()))
            encoded = batch.encoded(encoder)
            size = len(encoded.payload)
            slice_size = max(1, min(SENDS_PER_SLICE, SLICE_BYTES // (size or 1)))
            while sends and size:
                yield partial(self._send_slice, encoded, [sends.popitem() for _ in range(min(slice_size, len(sends)))])
            del self._unsent[encoder]
        # A subscriber that has accepted all of the batch does not need its overrides any more.
        lagging = self._lagging_count > 0
        batch.drop_overrides_except(filter(self._may_reread, batch.overrides) if lagging else ())
        self.replay_buffer.trim(in_use=lagging)
        self._batch = None

    def _may_reread(self, session: int) -> bool:
        """Return whether the subscriber of *session* may still read the batch from the replay buffer.

        A subscriber that has unsubscribed can lag, too.
        """
        subscriber = self._subscribers.get(session)
        return subscriber is None or subscriber.lagging

    def _send_overridden(self, subscriber: Subscriber, batch: PlacedBatch) -> None:
        if subscriber.send_batch(batch):
            self.mark_current(subscriber)

    def _send_slice(self, encoded: EncodedBatch, subscribers: Sequence[tuple[Subscriber, Send]]) -> None:
        """Send the same bytes to each of *subscribers*. This loop determines the speed of the server."""
        payload = encoded.payload
        size = len(payload)
        behind = []
        for subscriber, send in subscribers:
            try:
                accepted = send(payload)
            except OSError as error:
                accepted = subscriber.writer.send_failed(error)
            if accepted != size:
                behind.append((subscriber, accepted))
        self.dispatcher.sent_bytes += size * len(subscribers)
        self.dispatcher.deliveries += encoded.shown * (len(subscribers) - len(behind))
        for subscriber, accepted in behind:
            self.dispatcher.sent_bytes -= size - accepted
            self.mark_behind(subscriber)
            assert self._batch is not None
            subscriber.fall_behind(self._batch, accepted)

    # Subscribers

    def count_lagging(self, change: int) -> None:
        """Add *change*, 1 or -1, to the number of subscribers that lag."""
        self._lagging_count += change
        self.dispatcher.lagging_count += change

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add *subscriber*, which receives the next batches. If it is current, call ``mark_current``, too."""
        self._subscribers[subscriber.session] = subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove *subscriber*."""
        if self._subscribers.get(subscriber.session) is subscriber:
            del self._subscribers[subscriber.session]

    def mark_current(self, subscriber: Subscriber) -> None:
        """Offer the next batches to *subscriber* directly, because its writer has accepted everything."""
        sends = self._current.get(subscriber.encoder)
        if sends is None:
            sends = self._current[subscriber.encoder] = {}
        sends[subscriber] = subscriber.writer.send

    def mark_behind(self, subscriber: Subscriber) -> PlacedBatch | None:
        """Offer no more batches to *subscriber*. Return the batch in delivery if it was not offered yet, else None."""
        if subscriber.encoder in self._current:
            self._current[subscriber.encoder].pop(subscriber, None)
        not_offered = subscriber in self._overridden or subscriber in self._unsent.get(subscriber.encoder, ())
        self._overridden.pop(subscriber, None)
        self._unsent.get(subscriber.encoder, {}).pop(subscriber, None)
        return self._batch if not_offered else None
