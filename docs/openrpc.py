"""The description of the program protocol for machines: an OpenRPC document, made from the messages of the door.

``python docs/openrpc.py > docs/openrpc.json`` writes it. A test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from broadcast.doors.jsonrpc import catalogue, errors, messages
from broadcast.doors.jsonrpc.errors import Code

OPENRPC: Final = "1.3.2"
"""Version of the OpenRPC specification."""
_REF: Final = "#/components/schemas/{name}"
_JSONRPC_ERRORS: Final = {
    "parse-error": (Code.PARSE_ERROR, "The line is no JSON."),
    "invalid-request": (Code.INVALID_REQUEST, "The line is no request."),
    "method-not-found": (Code.METHOD_NOT_FOUND, "There is no such method."),
    "invalid-params": (Code.INVALID_PARAMS, "The parameters are wrong; the message names the member."),
    "internal-error": (Code.INTERNAL_ERROR, "The server has failed."),
}
_DESCRIPTION: Final = (
    "JSON-RPC 2.0 with one message per line. The methods are requests of the client. x-notifications are the "
    "notifications of the server; some of their names are those of methods, too."
)

Document = dict[str, Any]


def build() -> Document:
    """Return the document."""
    structs = [
        *(method.params for method in catalogue.METHODS.values()),
        *(method.result for method in catalogue.METHODS.values()),
        *catalogue.NOTIFICATIONS.values(),
        *catalogue.EVENTS.values(),
        messages.MemberInfo,
        errors.Error,
    ]
    _, schemas = msgspec.json.schema_components(structs, ref_template=_REF)
    schemas["Event"] = {"description": "One event of a result.", "oneOf": list(_event_schemas(schemas))}
    return {
        "openrpc": OPENRPC,
        "info": {
            "title": "broadcast",
            "description": _DESCRIPTION,
            "version": str(messages.PROTOCOL_VERSION),
            "license": {"name": "MIT"},
        },
        "methods": [_describe_method(name, method, schemas) for name, method in catalogue.METHODS.items()],
        "x-notifications": [
            {
                "name": name,
                "summary": schemas[params.__name__]["description"],
                "paramStructure": "by-name",
                "params": _describe_params(params, schemas),
            }
            for name, params in catalogue.NOTIFICATIONS.items()
        ],
        "components": {"schemas": schemas, "errors": dict(_describe_errors())},
    }


def _event_schemas(schemas: Mapping[str, Document]) -> Iterator[Document]:
    """Yield the schemas of the events in results, each with its method."""
    for name, event in catalogue.EVENTS.items():
        schema = schemas[event.__name__]
        method = {"method": {"const": name}}
        yield {
            "title": name,
            "type": "object",
            "properties": method | schema["properties"],
            "required": ["method", *schema["required"]],
        }


def _describe_method(name: str, method: catalogue.Method, schemas: Mapping[str, Document]) -> Document:
    common = [reason for reason in catalogue.COMMON_REASONS if (name, reason) != ("hello", "hello-first")]
    (result,), _ = msgspec.json.schema_components([method.result], ref_template=_REF)
    return {
        "name": name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": _describe_params(method.params, schemas),
        "result": {"name": "result", "required": True, "schema": result},
        "errors": [
            {"$ref": f"#/components/errors/{reason}"} for reason in (*method.reasons, *common, *_JSONRPC_ERRORS)
        ],
    }


def _describe_params(params: type[Struct], schemas: Mapping[str, Document]) -> list[Document]:
    """Return a content descriptor for each member of *params*."""
    schema = schemas[params.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "required": name in required, "schema": member} for name, member in schema["properties"].items()
    ]


def _describe_errors() -> Iterator[tuple[str, Document]]:
    for name, (code, message) in _JSONRPC_ERRORS.items():
        yield name, {"code": code, "message": message}
    for reason, (code, message) in errors.REASONS.items():
        yield reason, {"code": code, "message": message, "data": {"reason": reason}}


def render() -> str:
    """Return the document as text."""
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(render(), end="")
