from __future__ import annotations

import pytest

from broadcast.files.types import ALLOWED, IMAGES, INLINE, OCTETS, choose_type


@pytest.mark.parametrize(
    ("announced", "name", "image", "chosen"),
    [
        ("", "notes.TXT", "", "text/plain"),
        ("", "report.pdf", "", "application/pdf"),
        ("", "noending", "", OCTETS),
        ("", ".png", "", OCTETS),
        ("text/plain; charset=utf-16", "a", "", "text/plain"),
        (" Text/PLAIN ", "a", "", "text/plain"),
        ("application/pdf", "a.txt", "", "application/pdf"),
        ("image/png", "a", "image/png", "image/png"),
        ("image/png", "a", "image/jpeg", "image/jpeg"),
        ("image/png", "a.png", "", OCTETS),
        ("", "a.png", "image/webp", "image/webp"),
        ("text/plain", "a.png", "image/png", "text/plain"),
        ("", "a.html", "", OCTETS),
        ("text/html", "a.txt", "", OCTETS),
        ("image/svg+xml", "a.svg", "", OCTETS),
        ("application/xhtml+xml", "a", "", OCTETS),
        ("text/plain\r\nX-Evil: 1", "a", "", OCTETS),
    ],
)
def test_a_type_is_one_of_the_list_and_an_image_has_its_header(
    announced: str, name: str, image: str, chosen: str
) -> None:
    assert choose_type(announced, name, image) == chosen


def test_no_type_that_a_browser_shows_can_hold_a_script() -> None:
    assert INLINE.difference(IMAGES) == {"text/plain"}
    assert not [each for each in ALLOWED if "html" in each or each.endswith("xml") or "script" in each]
