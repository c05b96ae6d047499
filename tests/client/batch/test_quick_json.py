from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client.batch.quick_json import dumps, loads

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_is_that_of_the_standard_library(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert dumps(value) == text
    assert loads(text.encode("utf-8", "replace") + b"\r") == json.loads(text.encode("utf-8", "replace"))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1", b"1 2", b'{"a":}', b"nul", b'"\x01"', b'"abc', b"\xff", b"{'a': 1}"]
)
def test_faulty_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the texts are those of json
        loads(data)


def test_a_python_without_the_functions_in_c_uses_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_json", None)
    assert dumps({"a": ("ü", None)}) == '{"a": ["ü", null]}'
    assert loads(b'{"a": [1.5]}') == {"a": [1.5]}
