from __future__ import annotations

import pytest

from broadcast.client.editing import cluster_after, cluster_before

FAMILY = "👩\u200d👩\u200d👧"


@pytest.mark.parametrize(
    ("letters", "sizes"),
    [
        (["a", "b"], [1, 1]),
        (["e\u0301", "x"], [2, 1]),
        (["日", "本"], [1, 1]),
        ([FAMILY, "x"], [5, 1]),
        (["❤\ufe0f", "x"], [2, 1]),
        (["x\u0308\u0301", "y"], [3, 1]),
    ],
)
def test_a_letter_is_one_with_its_marks_from_both_sides(letters: list[str], sizes: list[int]) -> None:
    text = "".join(letters)
    assert cluster_after(text, 0) == sizes[0]
    assert cluster_before(text, len(text)) == sizes[-1]
    assert cluster_before(text, sizes[0]) == sizes[0]


def test_there_is_nothing_before_the_beginning_and_after_the_end() -> None:
    assert cluster_before("abc", 0) == 0
    assert cluster_after("abc", 3) == 0


def test_marks_without_a_letter_are_passed_all_the_same() -> None:
    assert cluster_before("\u0301\u0301", 2) == 2
    assert cluster_after("\u0301\u0301", 0) == 2
