"""A failure to store has the author's session, and only text that somebody wrote has a length."""

from __future__ import annotations

import pytest

from broadcast.core.events import Action, Event, Joined, Message, PrivateMessage, StoreFailed, TopicChanged, text_length


def test_event_that_was_not_stored_has_the_session_of_its_author() -> None:
    assert StoreFailed(Message(7, "ann", "hi", 1.5), "the disk is full").session == 7


@pytest.mark.parametrize(
    ("event", "characters"),
    [
        (Message(7, "ann", "hi", 1.5), 2),
        (StoreFailed(Action(7, "ann", "waves", 1.5), "the disk is full"), 5),
        (PrivateMessage(7, "ann", 8, "psst"), 4),
        (TopicChanged(7, "ann", "lunch"), 5),
        (Joined(7, "ann"), 0),
    ],
)
def test_text_length_counts_only_text_that_somebody_wrote(event: Event, characters: int) -> None:
    assert text_length(event) == characters
