"""JSON without the import of ``json``, which compiles regular expressions: ``--send`` would wait for them.

The functions in C are those that ``json`` itself uses. Where they fail, ``json`` takes over.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Decoding:
    """The attributes of a ``json.JSONDecoder``, for the scanner."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def loads(data: bytes) -> Any:  # noqa: ANN401 -- as json.loads
    """Return the value in *data*, as ``json.loads`` does. Raise ``ValueError`` if there is none."""
    text = data.decode().strip()
    try:
        from _json import make_scanner  # noqa: PLC0415 -- see above

        context: Any = _Decoding
        value, end = make_scanner(context)(text, 0)
        if end == len(text):
            return value
    except Exception:  # noqa: BLE001, S110 -- whatever it is, json knows better
        pass
    import json  # noqa: PLC0415

    return json.loads(text)


def dumps(value: object) -> str:
    """Return *value* as JSON, as ``json.dumps(value, ensure_ascii=False)`` does."""
    try:
        from _json import encode_basestring, make_encoder  # noqa: PLC0415

        default: Any = None
        encode: Any = make_encoder(None, default, encode_basestring, None, ": ", ", ", False, False, True)
        return "".join(encode(value, 0))
    except Exception:  # noqa: BLE001 -- likewise
        import json  # noqa: PLC0415

        return json.dumps(value, ensure_ascii=False)
