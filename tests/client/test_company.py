from __future__ import annotations

import pytest

from broadcast.client.company import Company
from broadcast.client.lines import Answer, Crowd, Emoted, Event, Joined, Left, Notice, Renamed, Said, Whispered


def company(*names: str, others: int | None = None) -> Company:
    """Ann, in a room with these people."""
    people = Company()
    people.enter(names, len(names) if others is None else others)
    return people


@pytest.mark.parametrize(
    ("event", "names", "here"),
    [
        (Joined("eve"), ["bob", "eve"], 3),
        (Left("Bob", "tired"), [], 1),
        (Left("eve", ""), ["bob"], 1),
        (Renamed("bob", "rob"), ["rob"], 2),
        (Crowd(7, joined=True), ["bob"], 9),
        (Crowd(7, joined=False), ["bob"], 1),
        (Said("eve", "hi"), ["bob", "eve"], 2),
        (Emoted("eve", "waves"), ["bob", "eve"], 2),
    ],
)
def test_who_is_here_is_followed(event: Event, names: list[str], here: int) -> None:
    people = company("bob")
    assert people.follow(event, "ann")
    assert list(people.names) == names
    assert people.here == here


@pytest.mark.parametrize(
    "event",
    [
        Said("bob", "hi"),
        Said("eve", "of old", "14:02"),
        Said("ann", "from elsewhere"),
        Said("eve", "mine", own=True),
        Whispered("eve", "psst"),
        Answer("eve"),
        Notice("eve joined."),
    ],
)
def test_what_tells_nothing_of_who_is_here_changes_nothing(event: Event) -> None:
    people = company("bob")
    assert not people.follow(event, "ann")
    assert list(people.names) == ["bob"]
    assert people.here == 2


def test_more_may_be_here_than_are_named() -> None:
    people = company("bob", others=30)
    assert people.here == 31
    people.here = 0
    for event in (Joined("eve"), Left("bob", ""), Crowd(7, joined=True)):
        assert people.follow(event, "ann")
        assert people.here == 0, "not known"
    assert list(people.names) == ["eve"]
    people.leave()
    assert people.here == 0
    assert list(people.names) == []
