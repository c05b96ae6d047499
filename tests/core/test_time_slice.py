"""Work that may be much goes on in later turns, and wakes nobody when nothing is left of it."""

from __future__ import annotations

from collections.abc import Callable

from broadcast.core.time_slice import SLICE_SECONDS, TimeSlice


class Work:
    """So many steps, each of which takes *seconds*."""

    def __init__(self, steps: int, seconds: float) -> None:
        self.left = steps
        self.done = 0
        self.soon: list[Callable[[], None]] = []
        self._now = 100.0
        self._seconds = seconds
        self._share = TimeSlice(self.go_on, self.soon.append, lambda: self._now)

    def go_on(self) -> None:
        while self.left and not self._share.exhausted():
            self.left -= 1
            self.done += 1
            self._now += self._seconds

    def turn(self) -> None:
        """Another turn of the reactor."""
        now, self.soon[:] = list(self.soon), []
        for call in now:
            call()


def test_what_fits_is_done_at_once_and_the_rest_in_later_turns() -> None:
    work = Work(10, SLICE_SECONDS / 4)
    work.go_on()
    done = [work.done]
    while work.soon:
        work.turn()
        done.append(work.done)
    assert done == [4, 8, 10, 10]


def test_what_comes_later_in_the_same_turn_has_no_share_of_its_own() -> None:
    work = Work(3, SLICE_SECONDS / 4)
    work.go_on()
    work.left += 3
    work.go_on()
    assert (work.done, len(work.soon)) == (4, 1)
    work.turn()
    assert work.done == 6


def test_a_step_may_take_longer_than_the_share() -> None:
    work = Work(2, 3 * SLICE_SECONDS)
    work.go_on()
    work.turn()
    assert work.done == 2


def test_nothing_to_do_begins_no_turn() -> None:
    work = Work(0, 1.0)
    work.go_on()
    assert not work.soon
