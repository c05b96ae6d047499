"""Names of files are safe on every system and terminal, and sizes are readable."""

from __future__ import annotations

from unicodedata import category

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broadcast.core.file_names import MAX_NAME_BYTES, clean_file_name, file_path, format_size

RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789\u00b9\u00b2\u00b3"),
}


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("Urlaub in Köln (2).JPG", "Urlaub in Köln (2).JPG"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\ann\\a.txt", "a.txt"),
        ("C:a.txt", "C_a.txt"),
        ("a/", "file"),
        ("", "file"),
        ("..", "file"),
        (".", "file"),
        ("___", "file"),
        (" \t ", "file"),
        ("\x00\x1b[2J\u202e", "file"),
        (".bashrc", "_bashrc"),
        ("--rf", "_rf"),
        ("~ann", "_ann"),
        ("a\r\nb.txt", "a  b.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        ("name. . ", "name"),
        ("con", "_con"),
        ("CON.txt", "_CON.txt"),
        ("con .tar.gz", "_con .tar.gz"),
        ("COM1", "_COM1"),
        ("lpt\u00b9.log", "_lpt\u00b9.log"),
        ("console.log", "console.log"),
        ("\ud800.txt", "_txt"),
        ("x" * 200, "x" * 128),
        ("x" * 200 + ".pdf", "x" * 124 + ".pdf"),
        ("ä" * 100 + ".pdf", "ä" * 62 + ".pdf"),
        ("\U0001f600" * 40, "\U0001f600" * 32),
        ("a." + "x" * 200, "a." + "x" * 126),
        ("." + "x" * 200, "_" + "x" * 127),
    ],
)
def test_name_keeps_its_meaning_and_nothing_else(typed: str, name: str) -> None:
    assert clean_file_name(typed) == name


@given(st.one_of(st.text(), st.text("./\\ ~-_<>:conCON1\u0301\u00e4\U0001f600\u202e\x1b[2J", max_size=200)))
@example("con" + "\u0301" * 9 + ".")
@example("_" * 127 + ".x")
@example("CON" + " " * 130)
def test_any_name_is_harmless(typed: str) -> None:
    name = clean_file_name(typed)
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert not set(name) & set('/\\<>:"|?*')
    assert not any(category(character) in {"Cc", "Cs"} for character in name)
    assert not set(name) & {*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))}
    assert name[0] not in ".-~ "
    assert name[-1] not in ". "
    assert name.split(".")[0].strip().casefold() not in RESERVED
    assert clean_file_name(name) == name
    path = file_path("k3x", name)
    assert path.isascii()
    assert path.count("/") == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (1200, "1.2 kB"), (9949, "9.9 kB")),
        *((9950, "10 kB"), (340_000, "340 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (1_234_567, "1.2 MB")),
        *((26_214_400, "26 MB"), (1_073_741_824, "1.1 GB"), (5 * 10**12, "5000 GB")),
    ],
)
def test_size_is_readable(size: int, text: str) -> None:
    assert format_size(size) == text
