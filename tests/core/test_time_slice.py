"""Long work continues in later turns."""

from __future__ import annotations

from collections.abc import Callable

from broadcast.core.time_slice import SLICE_SECONDS, TimeSlice


class Work:
    """Work in *steps*, each of which takes *seconds*."""

    def __init__(self, steps: int, seconds: float) -> None:
        self.left = steps
        self.done = 0
        self.soon: list[Callable[[], None]] = []
        self._now = 100.0
        self._seconds = seconds
        self._slice = TimeSlice(self.run, self.soon.append, lambda: self._now)
        self.begin = self._slice.begin

    def run(self) -> None:
        while self.left and not self._slice.exhausted():
            self.left -= 1
            self.done += 1
            self._now += self._seconds

    def turn(self) -> None:
        """Run another turn of the reactor."""
        now, self.soon[:] = list(self.soon), []
        for call in now:
            call()


def test_work_that_does_not_fit_a_turn_continues_in_later_ones() -> None:
    work = Work(10, SLICE_SECONDS / 4)
    work.run()
    done = [work.done]
    while work.soon:
        work.turn()
        done.append(work.done)
    assert done == [4, 8, 10, 10]


def test_all_work_of_a_turn_shares_one_slice() -> None:
    work = Work(3, SLICE_SECONDS / 4)
    work.run()
    work.left += 3
    work.run()
    assert (work.done, len(work.soon)) == (4, 1)
    work.turn()
    assert work.done == 6


def test_each_turn_does_a_step_even_if_it_takes_longer_than_the_slice() -> None:
    work = Work(2, 3 * SLICE_SECONDS)
    work.run()
    work.turn()
    assert work.done == 2


def test_no_work_schedules_no_turn() -> None:
    work = Work(0, 1.0)
    work.run()
    assert not work.soon


def test_slice_that_was_begun_uses_the_next_turn_only_if_it_is_exhausted() -> None:
    work = Work(3, SLICE_SECONDS / 4)
    work.begin("a")
    work.run()
    assert (work.done, work.soon) == (3, [])
    work.left += 5
    work.begin("a")
    work.run()
    assert (work.done, len(work.soon)) == (7, 1)
    work.begin("a")
    work.run()
    assert (work.done, len(work.soon)) == (7, 1), "this turn has a slice already"
    work.turn()
    assert work.done == 8


def test_slice_that_was_begun_does_a_step_even_if_it_takes_longer() -> None:
    work = Work(2, 3 * SLICE_SECONDS)
    work.begin("a")
    work.run()
    assert work.done == 1


def test_owner_that_joins_a_slice_continues_it_and_uses_the_next_turn() -> None:
    work = Work(3, SLICE_SECONDS / 4)
    work.begin("a")
    work.run()
    work.left += 5
    work.begin("b")
    work.run()
    assert (work.done, len(work.soon)) == (4, 1), "the turn may be the same one"
    work.turn()
    assert (work.done, len(work.soon)) == (8, 1)
    work.turn()
    assert (work.done, work.soon) == (8, [])
    work.left += 3
    work.begin("b")
    work.run()
    assert (work.done, work.soon) == (11, [])
