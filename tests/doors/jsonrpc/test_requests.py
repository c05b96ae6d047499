"""Requests of programs: what is accepted, and the error for everything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.doors.jsonrpc.catalogue import METHODS, Params
from broadcast.doors.jsonrpc.errors import RpcError
from broadcast.doors.jsonrpc.messages import MAX_REQUEST_BYTES, HistoryParams, RequestId, SayParams
from broadcast.doors.jsonrpc.requests import BadRequest, decode_params, decode_request

SAY = '{"jsonrpc":"2.0","id":1,"method":"say","params":%s}'


def params_of(method: str, params: str) -> Params:
    """Return the decoded parameters of a request."""
    return decode_params(decode_request(f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}'.encode()))


def bad(line: str | bytes) -> tuple[int, RequestId | None]:
    """Return the code and the id of the error for *line*, which is no request."""
    with pytest.raises(BadRequest) as caught:
        decode_request(line.encode() if isinstance(line, str) else line)
    assert str(caught.value).endswith(".")
    return caught.value.code, caught.value.id


def refusal(method: str, params: str) -> str:
    """Return the message of the error for wrong parameters."""
    with pytest.raises(RpcError) as caught:
        params_of(method, params)
    assert caught.value.code == -32602
    return str(caught.value)


def test_request_and_notification_are_told_apart_by_the_id() -> None:
    for id_ in (0, -7, 2**70, "", "x" * 64):
        line = json.dumps({"jsonrpc": "2.0", "id": id_, "method": "ping"}).encode()
        assert decode_request(line).id == id_
    assert not isinstance(decode_request(b'{"jsonrpc":"2.0","method":"ping"}').id, int | str)


def test_unknown_members_are_ignored_and_the_last_of_two_counts() -> None:
    params = params_of("say", '{"room":"a","room":"lobby","text":"hi","new":[1e999,{"x":null}]}')
    assert params == SayParams(room="lobby", text="hi")
    assert decode_request(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping","new":{}}').id == 2


@pytest.mark.parametrize(
    "line",
    [
        *("{", "", "hello", "NaN", '{"jsonrpc":"2.0","id":NaN,"method":"ping"}', '{"jsonrpc":"2.0","id":1,'),
        *('{"a":1} {"b":2}', '{"jsonrpc":"2.0","id":null,"method":"ping"', "{'a':1}", '{"a":1,}', "\ufeff{}"),
        *('{"a":"\t"}', SAY % '{"text":"\\x"}', SAY % '{"text":"\\ud8"}', SAY % '{"text":"\\ud800', '{"a":01}'),
        *("[" * MAX_REQUEST_BYTES, '{"a":' * 3000, SAY % ("[" * 16_000), SAY % ('{"a":' * 3000)),
    ],
    ids=lambda line: repr(line[:40]),
)
def test_line_that_is_no_json_is_a_parse_error(line: str) -> None:
    assert bad(line) == (-32700, None)


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xff\xfe", b"\xe2\x82"])
def test_line_that_is_no_utf8_is_a_parse_error(text: bytes) -> None:
    """Also in a member that the server does not know."""
    assert bad(b'{"jsonrpc":"2.0","id":1,"method":"ping","new":"%b"}' % text) == (-32700, None)


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        *[(text, None) for text in ("5", "1e999", "-0", '"x"', "null", "true", "[]", "{}", "9" * 5000)],
        ('[{"jsonrpc":"2.0","id":1,"method":"ping"}]', None),
        ('{"jsonrpc":"1.0","id":3,"method":"ping"}', 3),
        ('{"id":"x","method":"ping"}', "x"),
        ('{"jsonrpc":"2.0","id":3,"result":{}}', 3),
        ('{"jsonrpc":"2.0","id":3,"method":5}', 3),
        ('{"jsonrpc":"1.0","method":"ping"}', None),
        *[
            (f'{{"jsonrpc":"2.0","id":{id_},"method":"ping"}}', None)
            for id_ in ("null", "true", "1.5", "1e3", "1e999", "[]", "{}", f'"{"x" * 65}"', "9" * 5000)
        ],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_json_that_is_no_request_is_refused_with_its_id(line: str, id_: RequestId | None) -> None:
    assert bad(line) == (-32600, id_)


def test_unknown_method_is_refused() -> None:
    for name in ("nope", "Say", "", "rpc.discover", "x" * 5000, "\\u0000", "\\ud800"):
        with pytest.raises(RpcError) as caught:
            params_of(name, "{}")
        assert caught.value.code == -32601
        assert len(str(caught.value)) < 150


def test_error_names_the_member_that_is_wrong() -> None:
    assert refusal("say", '{"room":5,"text":"x"}') == "Expected `str`, got `int` - at `params.room`."
    assert refusal("say", '{"room":"lobby"}') == "Object missing required field `text`."
    assert refusal("hello", '{"protocol":1,"resume":{"token":"a","journal":"b","told":-1}}').endswith(
        "at `params.resume.told`."
    )
    for params in ("[]", "null", "5", '"x"'):
        assert refusal("say", params).startswith("Expected `object`")


@pytest.mark.parametrize("uid", ["", "x" * 65, "a b", "é", "a\\n", "a\\u0000", "a/b"])
def test_uid_has_1_to_64_safe_characters(uid: str) -> None:
    assert refusal("say", f'{{"room":"lobby","text":"x","uid":"{uid}"}}').endswith("at `params.uid`.")


def test_counts_and_numbers_have_limits() -> None:
    for params in ('"last":0', '"last":1001', '"last":1e3', '"from":0,"to":1', f'"after":{2**53}', '"before":-1'):
        assert refusal("history", f'{{"room":"lobby",{params}}}')
    assert refusal("search", '{"room":"lobby","words":"x","count":51}')
    assert refusal("members", '{"room":"lobby","count":1001}')
    assert refusal("join", '{"room":"lobby","replay":1001}')
    for params in ('"grace":-1', '"grace":1e999', '"replay":true', '"client":null', '"rooms":"lobby"', '"rooms":[1]'):
        assert refusal("hello", f'{{"protocol":1,"nick":"a",{params}}}')


def test_history_asks_for_one_range() -> None:
    for params in ('"last":5', '"before":5', '"after":0,"count":3', '"from":3,"to":3'):
        assert isinstance(params_of("history", f'{{"room":"lobby",{params}}}'), HistoryParams)
    for params in ("", ',"last":5,"before":3', ',"from":5', ',"to":5', ',"last":5,"to":5', ',"last":5,"count":5'):
        assert "`" in refusal("history", f'{{"room":"lobby"{params}}}')
    assert "`replay` and `after`" in refusal("join", '{"room":"lobby","replay":1,"after":1}')


def test_lone_surrogate_becomes_a_replacement_character() -> None:
    for escaped, text in (
        ("\\ud800", "\ufffd"),
        ("\\uDFFFx", "\ufffdx"),
        ("\\ud83d\\ude00", "\U0001f600"),
        ("\\ud83d\\ud83d\\ude00", "\ufffd\U0001f600"),
        ("\\ud83d\\u0041", "\ufffdA"),
        ("\\\\ud800\\ud800", "\\ud800\ufffd"),
    ):
        assert params_of("say", f'{{"room":"lobby","text":"{escaped}"}}') == SayParams(room="lobby", text=text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "x"]), JSON_VALUES),
    st.sampled_from([*METHODS]),
    st.dictionaries(
        st.sampled_from(["room", "text", "uid", "nick", "protocol", "resume", "rooms", "last", "from", "to", "after"]),
        JSON_VALUES,
    ),
    st.integers(0, 200),
)
def test_any_json_is_a_request_or_has_an_error(
    envelope: dict[str, object], method: str, params: dict[str, object], cut: int
) -> None:
    valid = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    whole = json.dumps(valid | envelope).encode()
    for line in (
        whole,
        json.dumps(valid).encode(),
        whole[:cut],
        json.dumps(valid, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    ):
        try:
            decode_params(decode_request(line))
        except RpcError as error:
            assert -32700 <= error.code <= -32600  # noqa: PT017


@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_have_an_error(line: bytes) -> None:
    for data in (line, b"{" + line, SAY.encode() % (b'{"text":"' + line + b'"}')):
        try:
            decode_params(decode_request(data))
        except RpcError as error:
            assert -32700 <= error.code <= -32600  # noqa: PT017
