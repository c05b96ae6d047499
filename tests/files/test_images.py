from __future__ import annotations

from io import BytesIO
from itertools import count
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.files.images import Image, read_image

PNG = b"\x89PNG\r\n\x1a\n" + pack(">I4sIIBBBBBI", 13, b"IHDR", 640, 480, 8, 2, 0, 0, 0, 0)
GIF = b"GIF89a" + pack("<HHBBB", 320, 200, 0, 0, 0)
WEBP_LOSSY = b"RIFF" + pack("<I", 100) + b"WEBPVP8 " + pack("<I", 80) + b"\0\0\0\x9d\x01\x2a" + pack("<HH", 550, 368)
WEBP_LOSSLESS = b"RIFF" + pack("<I", 100) + b"WEBPVP8L" + pack("<IBI", 80, 0x2F, 385 | 394 << 14) + bytes(8)
WEBP_EXTENDED = (
    b"RIFF" + pack("<I", 100) + b"WEBPVP8X" + pack("<II", 10, 0) + (1023).to_bytes(3, "little") + b"\xff\x02\0"
)


def segment(marker: int, content: bytes) -> bytes:
    return pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(*segments: bytes, marker: int = 0xC0) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + segment(marker, pack(">BHHB", 8, 600, 800, 3)) + b"\xff\xda"


def exif(orientation: int, order: str = ">") -> bytes:
    entries = pack(f"{order}HHIHHHHIHH", 0x0100, 3, 1, 9, 0, 0x0112, 3, 1, orientation, 0)
    tiff = pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, 2) + entries
    return segment(0xE1, b"Exif\0\0" + tiff)


@pytest.mark.parametrize(
    ("data", "image"),
    [
        (PNG, Image("image/png", 640, 480)),
        (GIF, Image("image/gif", 320, 200)),
        (WEBP_LOSSY, Image("image/webp", 550, 368)),
        (WEBP_LOSSLESS, Image("image/webp", 386, 395)),
        (WEBP_EXTENDED, Image("image/webp", 1024, 768)),
        (jpeg(), Image("image/jpeg", 800, 600)),
        (jpeg(marker=0xC2), Image("image/jpeg", 800, 600)),
        (jpeg(segment(0xE0, b"JFIF"), segment(0xC4, b"tables")), Image("image/jpeg", 800, 600)),
        (jpeg(*[segment(0xE2, bytes(65533))] * 20), Image("image/jpeg", 800, 600)),
        (jpeg(b"\xff\xff\xff", b"\xff\x01"), Image("image/jpeg", 800, 600)),
        (jpeg(exif(1)), Image("image/jpeg", 800, 600)),
        (jpeg(exif(6)), Image("image/jpeg", 600, 800)),
        (jpeg(exif(8, "<")), Image("image/jpeg", 600, 800)),
        (jpeg(segment(0xE1, b"Exif\0\0MM")), Image("image/jpeg", 800, 600)),
        (jpeg(segment(0xE1, b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")), Image("image/jpeg", 800, 600)),
        (jpeg(segment(0xE1, b"http://ns.adobe.com/xap")), Image("image/jpeg", 800, 600)),
        (b"\xff\xd8\xff\xda", Image("image/jpeg", 0, 0)),
        (b"\xff\xd8\xff\xe0\0\0", Image("image/jpeg", 0, 0)),
        (b"\xff\xd8\xff\xe0\0\2zz", Image("image/jpeg", 0, 0)),
        (PNG[:20], Image("image/png", 0, 0)),
        (PNG.replace(b"IHDR", b"IDAT"), Image("image/png", 0, 0)),
        (PNG[:16] + b"\xff" * 8, Image("image/png", 0, 0)),
        (PNG[:16] + bytes(8), Image("image/png", 0, 0)),
        (GIF[:8], Image("image/gif", 0, 0)),
        (WEBP_LOSSY[:20], Image("image/webp", 0, 0)),
        (WEBP_LOSSY.replace(b"VP8 ", b"VP9 "), Image("image/webp", 0, 0)),
        (b"<svg width='1' height='1'/>", None),
        (b"", None),
        (b"RIFF1234WAVEfmt ", None),
    ],
    ids=count(),
)
def test_the_size_of_an_image_is_read_from_its_header(data: bytes, image: Image | None) -> None:
    assert read_image(BytesIO(data)) == image


@given(st.sampled_from([PNG, GIF, WEBP_LOSSY, WEBP_LOSSLESS, jpeg(exif(6))]), st.data())
def test_damaged_headers_raise_nothing(whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read_image(BytesIO(damaged[: data.draw(st.integers(0, len(damaged)))]))


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xd0", b"\xff\xe0\0\2"])
def test_the_work_is_limited_for_a_large_file_without_a_size(filler: bytes) -> None:
    class CountingFile(BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            CountingFile.reads += 1
            return super().read(size)

    assert read_image(CountingFile(b"\xff\xd8" + filler * 1_000_000)) == Image("image/jpeg", 0, 0)
    assert CountingFile.reads <= 2000
