"""Uploads in a conversation: the command, its progress, its end, and the files of others."""

from __future__ import annotations

import pytest

from broadcast.client.exit_status import LOST
from broadcast.client.protocol import errors, events
from broadcast.client.session.commands import unquoted
from broadcast.client.session.conversation import State
from tests.client.session.fakes import NOW, Talk, welcome

REPORT = events.File("report.pdf", 1_234_567, "k3x", "http://h/files/k3x/report.pdf")


def test_a_shared_file_is_a_line() -> None:
    here = Talk("lobby", "kitchen")
    here.talk.handle(events.Shared("lobby", 1, NOW, "bob", REPORT, "s-bob"))
    here.talk.handle(events.Shared("kitchen", 1, NOW, "bob", REPORT, "s-bob"))
    assert here.front.texts == ["* bob shared report.pdf (1.2 MB): http://h/files/k3x/report.pdf"]
    assert [view.unread for view in here.talk.views] == [0, 1]
    here.talk.submit("/ignore bob")
    here.talk.handle(events.Shared("lobby", 2, NOW, "bob", REPORT, "s-bob"))
    assert len([text for text in here.front.texts if "shared" in text]) == 1


def test_an_upload_lets_later_lines_pass_and_ends_with_the_event() -> None:
    here = Talk()
    here.talk.submit("/upload ~/my report.pdf\nhello")
    assert here.server.uploads == [("lobby", "~/my report.pdf")]
    assert here.talk.uploads[0].name == "my report.pdf"
    here.store()
    here.server.on_progress(10, 100)
    assert (here.talk.uploads[0].sent, here.talk.uploads[0].size) == (10, 100)
    here.talk.handle(events.Shared("lobby", 2, NOW, "ann", REPORT, "s-ann"))
    here.server.on_end(None, None)
    assert here.front.texts == [
        "> /upload ~/my report.pdf",
        "-> Uploading my report.pdf. Ctrl-C on an empty line cancels it.",
        "ann: hello",
        "* ann shared report.pdf (1.2 MB): http://h/files/k3x/report.pdf",
    ]
    assert here.talk.uploads == []


def test_the_reason_of_a_failure_is_shown_in_the_room() -> None:
    here = Talk("lobby", "kitchen")
    here.talk.submit("/upload a.txt")
    here.talk.select(here.talk.views[1])
    here.server.on_end(None, errors.UploadFailed("a.txt cannot be read: Permission denied"))
    here.talk.select(here.talk.views[0])
    texts = [entry.text for entry in here.talk.views[0].entries if hasattr(entry, "text")]
    assert texts[-1] == "a.txt is not shared: a.txt cannot be read: Permission denied."


def test_the_reason_is_shown_even_if_the_room_is_left() -> None:
    here = Talk("lobby", "kitchen")
    here.talk.submit("/upload a.txt")
    here.talk.close(here.talk.views[0])
    here.server.on_end(None, errors.UploadFailed("you have left the room lobby."))
    assert here.front.texts[-1] == "! a.txt is not shared: you have left the room lobby."


def test_uploads_are_cancelled_after_the_lines_that_wait() -> None:
    here = Talk()
    here.talk.submit("/upload a.txt")
    here.talk.lost("reset", None)
    here.talk.submit("hello")
    assert here.talk.cancel()
    assert here.front.texts[-1] == "* 1 line was not sent. Up brings the text back."
    assert here.talk.cancel()
    assert here.front.texts[-1] == "* The upload of a.txt is cancelled."
    assert here.server.uploads == [("lobby", "a.txt"), ("cancelled", "a.txt")]
    assert not here.talk.cancel()


@pytest.mark.parametrize("typed", ["/upload", "/upload "])
def test_an_upload_needs_a_path(typed: str) -> None:
    here = Talk()
    here.talk.submit(typed)
    assert here.front.texts[-1] == "! Usage: /upload PATH."
    assert here.server.uploads == []


def test_an_upload_needs_a_room() -> None:
    here = Talk()
    here.talk.submit("/msg bob\n/upload a.txt")
    assert here.front.texts[-1].startswith("! This is a private conversation with bob. Go to a room first")
    assert here.server.uploads == []


def test_an_upload_waits_for_the_connection_and_goes_to_the_room_of_the_join_before_it() -> None:
    here = Talk("lobby", "kitchen")
    here.talk.lost("reset", None)
    here.talk.submit("/join kitchen\n/upload a.txt")
    assert here.server.uploads == []
    here.talk.connected(welcome("lobby", "kitchen"))
    assert here.server.uploads == [("kitchen", "a.txt")]


def test_leaving_waits_for_uploads() -> None:
    here = Talk()
    here.talk.submit("/upload a.txt\nquit")
    assert (here.talk.state, here.server.reasons) == (State.LEAVING, [])
    here.server.on_end(None, None)
    assert here.server.reasons == [""]


def test_a_cancelled_upload_does_not_hold_up_the_end() -> None:
    here = Talk()
    here.talk.submit("/upload a.txt\nquit")
    here.talk.cancel_uploads()
    assert here.server.reasons == [""]


def test_leaving_at_once_cancels_uploads_and_has_a_status() -> None:
    here = Talk()
    here.talk.submit("/upload a.txt\nquit")
    here.talk.leave()
    assert here.server.uploads[-1] == ("cancelled", "a.txt")
    assert (here.talk.status, here.ends, here.server.reasons) == (LOST, 1, [])
    assert here.front.texts[-1] == "* The upload of a.txt is cancelled."


def test_the_end_of_the_session_ends_an_upload_once() -> None:
    here = Talk()
    here.talk.submit("/upload a.txt")
    here.server.on_end(None, errors.Ended("kicked"))
    here.talk.ended(errors.Ended("kicked"), LOST)
    assert here.front.texts[-2:] == ["! Kicked.", "* The upload of a.txt is cancelled."]


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("/data/my file.pdf", "/data/my file.pdf"),
        ("'/data/my file.pdf'", "/data/my file.pdf"),
        ('"/data/my file.pdf"', "/data/my file.pdf"),
        (r"/data/my\ file\ \(2\).pdf", "/data/my file (2).pdf"),
        (r"'/data/it'\''s.pdf'", "/data/it's.pdf"),
        ("it's.txt", "it's.txt"),
        ("'my notes.txt", "my notes.txt"),
        ("'a' b", "'a' b"),
        (r"C:\Users\ann\a.txt", r"C:\Users\ann\a.txt"),
    ],
)
def test_a_path_is_taken_as_typed_or_as_a_terminal_inserts_it(typed: str, path: str) -> None:
    assert unquoted(typed) == path
