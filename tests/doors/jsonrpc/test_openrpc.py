"""docs/openrpc.json is what the code says, and is a valid OpenRPC document."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from broadcast.doors.jsonrpc import catalogue, errors
from tests.doors.jsonrpc.openrpc import DOCUMENT, DOCUMENT_PATH, ERRORS, Checker, check_params

META_SCHEMA = json.loads(Path(__file__).with_name("openrpc-1.3-schema.json").read_text("utf-8"))
"""The schema of OpenRPC 1.3: https://github.com/open-rpc/spec, Apache-2.0, unchanged."""


def test_document_is_generated_from_the_messages() -> None:
    script = DOCUMENT_PATH.with_name("openrpc.py")
    made = subprocess.run([sys.executable, str(script)], capture_output=True, check=True, timeout=200, text=True)  # noqa: S603
    hint = "run: python docs/openrpc.py > docs/openrpc.json"
    assert made.stdout == DOCUMENT_PATH.read_text("utf-8"), hint


def test_document_is_valid_openrpc() -> None:
    # OpenRPC refers to another meta schema for schemas, which is draft 7 in other words.
    schemas = Draft7Validator.META_SCHEMA | {
        "definitions": Draft7Validator.META_SCHEMA["definitions"]
        | {"JSONSchemaObject": {"properties": {"$ref": {"type": "string"}}}}
    }
    resource = Resource.from_contents(schemas, default_specification=DRAFT7)
    registry = Registry().with_resources(
        [("https://meta.json-schema.tools", resource), ("https://meta.json-schema.tools/", resource)]
    )
    Draft7Validator(META_SCHEMA, registry=registry).validate(DOCUMENT)
    for notification in DOCUMENT["x-notifications"]:
        as_method = {"openrpc": "1.3.2", "info": DOCUMENT["info"], "methods": [notification]}
        Draft7Validator(META_SCHEMA, registry=registry).validate(as_method)


def test_schemas_are_valid_and_complete() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    referred = {part.partition('"')[0] for part in json.dumps(DOCUMENT).split("#/components/")[1:]}
    assert referred <= {f"schemas/{name}" for name in schemas} | {f"errors/{name}" for name in ERRORS}


def test_every_reason_is_used_and_described() -> None:
    used = {reason for method in catalogue.METHODS.values() for reason in method.reasons} | {*catalogue.COMMON_REASONS}
    assert used == errors.REASONS.keys()
    assert {error["code"] for error in ERRORS.values()} == set(errors.Code)


def test_checker_finds_wrong_messages() -> None:
    checker = Checker()
    check_params("ping", {})
    for wrong in (
        b'{"jsonrpc":"2.0","method":"joined","params":{"room":"lobby","nick":"bob"}}',
        b'{"jsonrpc":"2.0","method":"joined","params":{"room":"lobby","nick":"bob","session":"x","more":1}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1002,"message":"hello comes first."}}',
        b'{"jsonrpc":"2.0","id":5,"result":{}}',
    ):
        with pytest.raises((ValidationError, AssertionError, KeyError)):
            checker.check(wrong)
