"""The undelivered events of all rooms, and the authors that wait until there are fewer of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from broadcast.core.limits import Limits


class Backlog:
    """The number and the size of the events that the rooms have appended and that are not in delivery yet.

    At the high-water mark of *limits*, the authors of all rooms pause until half of it is free again. Events that a
    journal has returned count until their delivery begins, because delivery to many subscribers takes longer than a
    commit, and input continues meanwhile.
    """

    def __init__(self, limits: Limits) -> None:
        self.events = 0
        """Number of events that are not in delivery yet."""
        self.characters = 0
        """Number of characters of text in them."""
        self.committed_events = 0
        """Number of those events that the journal has returned."""
        self.committed_characters = 0
        """Number of characters of text in them."""
        self.message_count = 0
        """Number of stored events in delivery or delivered since the start."""
        self._limits = limits
        self._paused_authors: deque[Callable[[], None]] = deque()

    def forget_all(self) -> None:
        """Forget all events and paused authors, because nobody is here any more."""
        self.events = self.characters = self.committed_events = self.committed_characters = 0
        self._paused_authors.clear()

    @property
    def queued_events(self) -> int:
        """Number of events that the journal has not returned yet."""
        return self.events - self.committed_events

    @property
    def queued_characters(self) -> int:
        """Number of characters of text in them."""
        return self.characters - self.committed_characters

    def move_to_committed(self, events: int, characters: int) -> None:
        """Count *events* with *characters* of text as returned by the journal."""
        self.committed_events += events
        self.committed_characters += characters

    def remove(self, events: int, characters: int) -> None:
        """Stop counting *events*, whose delivery begins."""
        self.events -= events
        self.characters -= characters
        self.committed_events -= events
        self.committed_characters -= characters

    @property
    def above_high_water(self) -> bool:
        """Whether the events have reached the high-water mark. Then their authors should pause."""
        limits = self._limits
        return self.events >= limits.high_water_events or self.characters >= limits.high_water_bytes

    def when_below_low_water(self, call: Callable[[], None]) -> None:
        """Call *call* once half of the high-water mark is free again. Only while ``above_high_water``.

        The calls are made in the order in which they were requested.
        """
        self._paused_authors.append(call)

    def take_resumable(self) -> Iterator[Callable[[], None]]:
        """Yield the calls one by one, while the events take at most half of the high-water mark."""
        limits = self._limits
        while (
            self._paused_authors
            and 2 * self.events <= limits.high_water_events
            and 2 * self.characters <= limits.high_water_bytes
        ):
            yield self._paused_authors.popleft()
