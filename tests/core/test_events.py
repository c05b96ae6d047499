"""Events are frozen, and a number makes a copy."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from broadcast.core.events import Action, Event, Joined, Message, PrivateMessage, Stored, StoreFailed, text_length


@pytest.mark.parametrize("event", [Message(7, "ann", "hi", 1.5, receipt=True), Action(7, "ann", "waves", 1.5)])
def test_numbered_event_is_a_copy_of_a_frozen_one(event: Stored) -> None:
    assert event.with_seq(12) == type(event)(7, "ann", event.text, 1.5, 12, event.receipt)
    assert event.seq == 0
    with pytest.raises(FrozenInstanceError):
        event.text = "ho"  # type: ignore[misc]  # that is the point


def test_event_that_was_not_stored_has_the_session_of_its_author() -> None:
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
def test_text_length_counts_only_text_that_somebody_wrote(event: Event, characters: int) -> None:
    assert text_length(event) == characters
