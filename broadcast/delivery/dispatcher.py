"""The dispatcher: the time slices, the limit and the counters that the fan-outs of all rooms share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from broadcast.core.limits import DEFAULTS
from broadcast.core.time_slice import CallSoon, TimeSlice

Step: TypeAlias = Callable[[], bool]
"""A function that does a short piece of work and returns whether more of it is left."""

ROOM_SECONDS: Final = 0.001
"""Time for which a room delivers before the next one, in seconds.

A step of a large room may take a millisecond, and one of a small room some microseconds. If each room made one step in
turn, the small room would wait for as many steps of the large one as it has authors.
"""


class Dispatcher:
    """The steps of all fan-outs and subscribers, and their common counters.

    Each turn of the reactor has one time slice for all deliveries, and one for all subscribers that catch up. So the
    length of a turn does not depend on the number of rooms. *call_soon* should make its calls after others of the same
    turn. Otherwise a line may wait for a slice before it is stored, and again afterwards. *now* returns monotonic
    seconds.
    """

    def __init__(
        self,
        call_soon: CallSoon,
        now: Callable[[], float],
        private_queue_bytes: int = DEFAULTS.private_queue_bytes,
    ) -> None:
        self.private_queue_bytes = private_queue_bytes
        """Size of the private queues of a connection at which it is congested, in bytes."""
        self.sent_bytes = 0
        """Number of bytes sent to subscribers."""
        self.deliveries = 0
        """Number of events that current subscribers have accepted, counted once for each subscriber."""
        self.missed_messages = 0
        """Number of messages in gap notices, counted once for each subscriber."""
        self.lagging_count = 0
        """Number of subscribers that lag. A connection counts once for each room in which it lags."""
        self._delivery_steps = _StepQueue(call_soon, now, ROOM_SECONDS)
        self._subscriber_steps = _StepQueue(call_soon, now)

    def deliver(self, step: Step) -> None:
        """Call *step* repeatedly while it returns True, in turn with the deliveries of other rooms.

        A room calls this at most once in each turn, or within a step. The first call of *step* happens at once if the
        time slice of this turn allows it.
        """
        self._delivery_steps.begin(step)

    def schedule(self, step: Step) -> None:
        """Call *step* repeatedly while it returns True, in turn with the steps of other subscribers.

        A step works for one peer. The first call happens at once if the time slice of this turn allows it.
        """
        self._subscriber_steps.add(step)


class _StepQueue:
    """Steps that run in turn, each for *seconds* but at least once, within one time slice of a turn of the reactor."""

    def __init__(self, call_soon: CallSoon, now: Callable[[], float], seconds: float = 0.0) -> None:
        self._now = now
        self._seconds = seconds
        self._steps: OrderedDict[Step, None] = OrderedDict()
        self._running = False
        self._slice = TimeSlice(self._run, call_soon, now)

    def begin(self, step: Step) -> None:
        """Add *step*. It may be added at most once in each turn, and within a step.

        If the steps end within this turn, no call is scheduled for the next one.
        """
        if not self._running:
            self._slice.begin(step)
        self.add(step)

    def add(self, step: Step) -> None:
        """Add *step*."""
        self._steps[step] = None
        if not self._running:
            self._run()

    def _run(self) -> None:
        """Run the steps in turn until the time slice of this turn is used up."""
        self._running = True
        try:
            while self._steps and not self._slice.exhausted():
                step, _ = self._steps.popitem(last=False)
                end = self._now() + self._seconds
                while step():
                    if (self._steps and self._now() >= end) or self._slice.exhausted():
                        self._steps[step] = None
                        break
        except BaseException:
            self._slice.use_next_turn()
            raise
        finally:
            self._running = False
