"""Nicknames that a server takes, made from names that it might not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client.nicknames import LONGEST, TRIES, fit, numbered, propose_nicknames


@pytest.mark.parametrize(
    ("name", "nick"),
    [
        ("ann", "ann"),
        ("José", "Jose"),
        ("DOMAIN\\ann lee", "DOMAIN-ann-lee"),
        (" ann ", "ann"),
        ("a_b-c.d", "a_b-c.d"),
        ("Зоя", "guest"),
        ("", "guest"),
        ("x" * 30, "x" * 24),
    ],
)
def test_a_name_is_made_fit(name: str, nick: str) -> None:
    assert fit(name) == nick


@given(st.text())
def test_whatever_the_name_the_nickname_is_one(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,24}", fit(name))


def test_digits_are_appended_within_the_length() -> None:
    assert numbered("ann", 2) == "ann2"
    assert numbered("x" * LONGEST, 10) == "x" * 22 + "10"


@pytest.mark.parametrize(
    ("environment", "nick"),
    [
        ({"USER": "ann", "USERNAME": "bea"}, "ann"),
        ({"USERNAME": "bea"}, "bea"),
        ({"USER": ""}, "guest"),
        ({}, "guest"),
    ],
)
def test_the_users_name_is_tried_first_then_with_digits(environment: dict[str, str], nick: str) -> None:
    tried = list(propose_nicknames(environment))
    assert tried == [nick, *(f"{nick}{number}" for number in range(2, TRIES + 1))]


def test_fewer_are_tried_than_a_server_refuses() -> None:
    assert len(list(propose_nicknames({}))) == 9
