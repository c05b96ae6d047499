"""A check of messages against docs/openrpc.json, which the tests of the door apply to everything they exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

DOCUMENT_PATH: Final = Path(__file__).parents[3] / "docs" / "openrpc.json"
DOCUMENT: Final[dict[str, Any]] = json.loads(DOCUMENT_PATH.read_text("utf-8"))
METHODS: Final = {method["name"]: method for method in DOCUMENT["methods"]}
NOTIFICATIONS: Final = {method["name"]: method for method in DOCUMENT["x-notifications"]}
ERRORS: Final = DOCUMENT["components"]["errors"]


def _closed(schema: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """Return *schema* without the permission of further members, so that a misspelled one is found."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(part) for name, part in schema.items()}
    return closed | {"additionalProperties": False} if "properties" in schema else closed


_COMPONENTS: Final = {"schemas": _closed(DOCUMENT["components"]["schemas"])}


@cache
def _validator(kind: str, name: str) -> Draft202012Validator:
    """Return the validator for the result or the parameters of the method or notification *name*."""
    if kind == "result":
        schema = _closed(METHODS[name]["result"]["schema"])
    elif kind == "error":
        schema = {"$ref": "#/components/schemas/Error"}
    else:
        params = (METHODS if kind == "params" else NOTIFICATIONS)[name]["params"]
        schema = {
            "type": "object",
            "properties": {param["name"]: _closed(param["schema"]) for param in params},
            "required": [param["name"] for param in params if param["required"]],
            "additionalProperties": False,
        }
    return Draft202012Validator({**schema, "components": _COMPONENTS})


class Checker:
    """A check of all messages of one connection. It knows which requests have no response yet."""

    def __init__(self) -> None:
        self.pending: dict[int | str, str] = {}
        """The methods of the requests without a response, by their id."""

    def note_request(self, message: dict[str, Any]) -> None:
        """Remember a request that the test sends."""
        if "id" in message:
            assert message["id"] not in self.pending
            self.pending[message["id"]] = message["method"]

    def check(self, line: bytes) -> dict[str, Any]:
        """Return the message in *line*, which the server has sent, without its end. It has the form that it must."""
        message: dict[str, Any] = json.loads(line)
        assert message.pop("jsonrpc") == "2.0"
        if "method" in message:
            assert message.keys() == {"method", "params"}
            _validator("notification", message["method"]).validate(message["params"])
        elif "error" in message:
            assert message.keys() == {"id", "error"}
            method = self.pending.pop(message["id"], None)
            assert message["id"] is None or method is not None
            _check_error(message["error"], method)
        else:
            assert message.keys() == {"id", "result"}
            _validator("result", self.pending.pop(message["id"])).validate(message["result"])
        return message


def check_params(method: str, params: object) -> None:
    """Check the parameters of a request that the test takes for valid."""
    _validator("params", method).validate(params)


def _check_error(error: dict[str, Any], method: str | None) -> None:
    _validator("error", "").validate(error)
    known = METHODS[method]["errors"] if method in METHODS else [{"$ref": f"#/components/errors/{n}"} for n in ERRORS]
    assert any(_matches(error, ERRORS[ref["$ref"].rpartition("/")[2]]) for ref in known), (method, error)


def _matches(error: dict[str, Any], described: dict[str, Any]) -> bool:
    if error["code"] != described["code"]:
        return False
    reason = described.get("data", {}).get("reason")
    return bool(error.get("data", {}).get("reason") == reason)


def lines(data: bytes) -> Iterator[bytes]:
    """Yield the lines of *data*, which must be whole, without their ends."""
    assert data.endswith(b"\n") or not data
    yield from data.split(b"\n")[:-1]
