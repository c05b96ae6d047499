"""What happens in a room is a value: nobody changes it, and a number makes another one of it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from broadcast.core.events import Action, Event, Joined, Message, PrivateMessage, Stored, StoreFailed, text_length


@pytest.mark.parametrize("event", [Message(7, "ann", "hi", 1.5, receipt=True), Action(7, "ann", "waves", 1.5)])
def test_a_kept_event_is_the_same_but_for_its_number(event: Stored) -> None:
    kept = event.with_seq(12)
    assert event.seq == 0
    assert kept == type(event)(7, "ann", event.text, 1.5, 12, event.receipt)


def test_an_event_never_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        Message(7, "ann", "hi", 1.5).text = "ho"  # type: ignore[misc]  # that is the point


def test_what_was_not_kept_is_its_authors() -> None:
    assert StoreFailed(Message(7, "ann", "hi", 1.5), "the disk is full").session == 7


@pytest.mark.parametrize(
    ("event", "characters"),
    [
        (Message(7, "ann", "hi", 1.5), 2),
        (StoreFailed(Action(7, "ann", "waves", 1.5), "the disk is full"), 5),
        (PrivateMessage(7, "ann", 8, "psst"), 4),
        (Joined(7, "ann"), 0),
    ],
)
def test_what_somebody_wrote_is_counted(event: Event, characters: int) -> None:
    assert text_length(event) == characters
