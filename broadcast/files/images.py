"""The sizes of images, read from the headers of PNG, JPEG, GIF and WebP files. Nothing is decoded."""

from __future__ import annotations

import struct
from os import SEEK_CUR
from struct import unpack, unpack_from
from typing import BinaryIO, Final, NamedTuple

MAX_SEGMENTS: Final = 500
"""Maximum number of segments of a JPEG file before its size. An embedded profile may take 255 of them."""
_FIRST_BYTES: Final = 32
"""Number of bytes that hold the size in all formats but JPEG."""
_SIZE_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of the JPEG segments that hold the size (SOF0 to SOF15)."""
_BARE_MARKERS: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""The markers of JPEG that no segment follows."""
_APP1: Final = 0xE1
_ORIENTATION: Final = 0x0112
"""The tag of Exif that says how to turn the image. With 5 to 8, its width is shown as its height."""
_UNKNOWN: Final = (0, 0)


class Image(NamedTuple):
    """The header of an image."""

    type: str
    width: int
    """Width as the image is shown, in pixels; 0 if it is unknown."""
    height: int


def read_image(file: BinaryIO) -> Image | None:
    """Return the header of the image in *file*, which can be read from its beginning; None if it is no image.

    The numbers are those that the header claims. The work is limited for all contents.
    """
    first = file.read(_FIRST_BYTES)
    if first.startswith(b"\x89PNG\r\n\x1a\n"):
        return _image("image/png", _png_size(first))
    if first.startswith((b"GIF87a", b"GIF89a")):
        return _image("image/gif", unpack_from("<HH", first, 6) if len(first) >= 10 else _UNKNOWN)
    if first.startswith(b"RIFF") and first[8:12] == b"WEBP":
        return _image("image/webp", _webp_size(first))
    if first.startswith(b"\xff\xd8\xff"):
        file.seek(2)
        try:
            return _image("image/jpeg", _jpeg_size(file))
        except (struct.error, ValueError):  # the file ends too early
            return _image("image/jpeg", _UNKNOWN)
    return None


def _image(type_: str, size: tuple[int, ...]) -> Image:
    width, height = size
    return Image(type_, width, height) if width and height else Image(type_, 0, 0)


def _png_size(first: bytes) -> tuple[int, ...]:
    if first[12:16] != b"IHDR" or len(first) < 24:
        return _UNKNOWN
    width, height = unpack_from(">II", first, 16)
    return (width, height) if max(width, height) < 1 << 31 else _UNKNOWN  # the highest number that PNG allows


def _webp_size(first: bytes) -> tuple[int, ...]:
    if len(first) < 30:
        return _UNKNOWN
    match first[12:16]:
        case b"VP8 " if first[23:26] == b"\x9d\x01\x2a":
            width, height = unpack_from("<HH", first, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L" if first[20] == 0x2F:
            bits = int.from_bytes(first[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(first[24:27], "little") + 1, int.from_bytes(first[27:30], "little") + 1
    return _UNKNOWN


def _jpeg_size(file: BinaryIO) -> tuple[int, ...]:
    """Return the size in the JPEG *file*, from its first segment on."""
    is_turned = False
    for _ in range(MAX_SEGMENTS):
        prefix, marker = file.read(2)
        if prefix != 0xFF:
            break
        if marker == 0xFF:  # fill bytes may precede a marker
            file.seek(-1, SEEK_CUR)
            continue
        if marker in _BARE_MARKERS:
            continue
        (length,) = unpack(">H", file.read(2))
        if marker in _SIZE_MARKERS:
            _precision, height, width = unpack(">BHH", file.read(5))
            return (height, width) if is_turned else (width, height)
        if length < 2 or marker == 0xDA:  # invalid, or the image itself
            break
        after = file.tell() + length - 2
        if marker == _APP1:
            is_turned = _orientation(file.read(length - 2)) in range(5, 9)
        file.seek(after)
    return _UNKNOWN


def _orientation(segment: bytes) -> int:
    """Return the orientation in *segment*, a segment APP1 with Exif or something else; 0 if there is none."""
    if not segment.startswith(b"Exif\0\0"):
        return 0
    exif = segment[6:]
    order = "<" if exif.startswith(b"II") else ">"
    try:
        (start,) = unpack_from(f"{order}I", exif, 4)
        (number,) = unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * number, 12):
            tag, _type, _count, value = unpack_from(f"{order}HHIH", exif, entry)
            if tag == _ORIENTATION:
                return int(value)
    except struct.error:
        pass
    return 0
