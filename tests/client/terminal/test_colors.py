from __future__ import annotations

import pytest

from broadcast.client.terminal.rendering import PALETTE, STYLES, color_of


def luminance(color: str) -> float:
    """The relative luminance, as WCAG 2.2 defines it."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("background", ["#000000", "#ffffff"])
@pytest.mark.parametrize("color", [*PALETTE, *(style[-7:] for style in STYLES.values() if "#" in style)])
def test_every_color_is_readable_on_dark_and_on_light(color: str, background: str) -> None:
    assert contrast(color, background) >= 3.5


def test_a_nickname_has_the_same_color_everywhere_and_every_day() -> None:
    assert color_of("ann") == "#d75f87"
    assert color_of("bob") == "#008787"


def test_the_case_in_which_a_nickname_is_written_does_not_change_its_color() -> None:
    assert color_of("Ann") == color_of("ANN") == color_of("ann")


def test_different_nicknames_use_the_whole_palette() -> None:
    assert {color_of(f"user{number}") for number in range(500)} == set(PALETTE)


def test_a_nickname_that_cannot_be_encoded_has_a_color_all_the_same() -> None:
    assert color_of("\udc80") in PALETTE
