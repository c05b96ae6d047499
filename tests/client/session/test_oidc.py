"""A login with OpenID Connect shows the page and the code apart, and how it has ended."""

from __future__ import annotations

from broadcast.client.protocol import events, requests
from tests.client.session.fakes import Talk


def test_oidc_shows_the_page_the_code_and_the_account() -> None:
    here = Talk()
    assert not here.talk.submit("/oidc")
    assert here.server.requests == [requests.Oidc()]
    here.server.answer()
    here.talk.handle(events.LoginCode("WDJB-MJHT", "https://login.example/device", 600))
    here.talk.handle(events.LoginEnded("zoe", "zoe"))
    assert here.front.texts[-4:] == [
        "* Open this page in a browser: https://login.example/device",
        "* Type this code there, only if you started this yourself: WDJB-MJHT",
        "* The code is valid for 10 min.",
        "* You are logged in as zoe.",
    ]
    assert here.talk.nick == "zoe"


def test_failure_is_one_problem() -> None:
    here = Talk()
    here.talk.handle(events.LoginEnded("ann", None, "The code has expired."))
    assert here.front.texts == ["! The code has expired."]
    assert here.talk.nick == "ann"
