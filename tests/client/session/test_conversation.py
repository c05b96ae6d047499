"""Tests of the conversation: events become entries, and typed lines become requests."""

from broadcast.client.protocol import requests
from broadcast.client.session.outbox import Kind
from tests.client.session.fakes import Talk


def test_an_own_line_waits_until_the_room_has_it_and_is_then_shown_in_its_place() -> None:
    here = Talk()
    assert here.talk.submit("hello") == ""
    assert here.talk.waiting == [("hello", Kind.LINE)]
    here.said("first")
    here.store()
    assert here.front.texts == ["bob: first", "ann: hello"]
    assert here.talk.waiting == []


def test_the_answer_to_a_command_waits_for_the_line_before_it() -> None:
    here = Talk()
    here.talk.submit("hello")
    here.talk.submit("/names")
    here.server.answer(requests.Output(("2 here: ann, bob",)), index=1)
    assert here.front.texts == []
    here.store()
    assert here.front.texts == ["ann: hello", "> /names", "-> 2 here: ann, bob"]
