"""The decoder of requests: a line becomes a request, or the error that its sender receives."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broadcast.doors.jsonrpc.catalogue import METHODS, Params
from broadcast.doors.jsonrpc.errors import Code, RpcError
from broadcast.doors.jsonrpc.messages import RequestId, Uid


class Request(Struct, frozen=True, kw_only=True, gc=False):
    """One message of a client. Without an id it is a notification, and gets no response."""

    jsonrpc: Literal["2.0"]
    method: str
    id: RequestId | UnsetType = UNSET
    params: Raw = Raw(b"{}")


class _UidOnly(Struct, frozen=True, gc=False):
    uid: Uid | UnsetType = UNSET


class BadRequest(RpcError):
    """A line that is no request. *id* is that of the request, None if it has none."""

    def __init__(self, code: Code, message: str, id: RequestId | None) -> None:  # noqa: A002
        super().__init__(code, message)
        self.id = id


_decode_request = msgspec.json.Decoder(Request).decode
_decode_id: Callable[[bytes | Raw], RequestId | None] = msgspec.json.Decoder(RequestId | None).decode
_decode_uid = msgspec.json.Decoder(_UidOnly).decode
_params_decoders: Final = {name: msgspec.json.Decoder(method.params).decode for name, method in METHODS.items()}
_SURROGATES: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
"""An escape sequence. The group is a lone surrogate."""


def decode_request(line: bytes) -> Request:
    """Return the request in *line*. Raises ``BadRequest``."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(Code.PARSE_ERROR, f"This line is no UTF-8: see byte {error.start}.", None) from None
    if "\\ud" in text or "\\uD" in text:
        # msgspec rejects lone surrogates. Nearly all escaped surrogates are pairs, so this is rare.
        text = _SURROGATES.sub(lambda escape: "\\ufffd" if escape[1] else escape[0], text)
    try:
        return _decode_request(text)
    except msgspec.ValidationError as error:
        raise _explain_invalid(text, str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _parse_error(error) from None


def decode_params(request: Request) -> Params:
    """Return the parameters of *request*. Raises ``RpcError``."""
    decode = _params_decoders.get(request.method)
    if decode is None:
        raise RpcError(Code.METHOD_NOT_FOUND, f"There is no method {request.method[:64]!r}.")
    try:
        return decode(request.params)
    except msgspec.ValidationError as error:
        raise RpcError(Code.INVALID_PARAMS, f"{error}.".replace("at `$", "at `params")) from None


def find_uid(request: Request) -> str | UnsetType:
    """Return the uid among the parameters of *request*, which may be invalid otherwise, or UNSET."""
    try:
        return _decode_uid(request.params).uid
    except msgspec.ValidationError:
        return UNSET


def _parse_error(error: Exception) -> BadRequest:
    why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return BadRequest(Code.PARSE_ERROR, f"This line is no JSON: {why}.", None)


def _explain_invalid(text: str, why: str) -> BadRequest:
    """Return the error for *text*, which is no request because of *why*.

    The decoder of requests stops at the first member that is wrong, so the rest may be no JSON.
    """
    try:
        value = msgspec.json.decode(text, type=dict[str, Raw] | list[Raw] | str | float | bool | None)
    except msgspec.ValidationError:
        value = None
    except (msgspec.DecodeError, RecursionError) as error:
        return _parse_error(error)
    if isinstance(value, list):
        return BadRequest(Code.INVALID_REQUEST, "Batches are not supported: send one request in each line.", None)
    if not isinstance(value, dict):
        return BadRequest(Code.INVALID_REQUEST, "A request is a JSON object.", None)
    return BadRequest(Code.INVALID_REQUEST, f"This is no request: {why}.", _find_id(value))


def _find_id(request: dict[str, Raw]) -> RequestId | None:
    """Return the id in *request*, None if it has no valid one."""
    try:
        return _decode_id(request.get("id", b"null"))
    except msgspec.ValidationError:
        return None
