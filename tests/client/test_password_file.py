from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from broadcast.client.options import Options, SettingsError
from broadcast.client.password_file import read_password


def write(path: Path, data: bytes, mode: int = 0o600) -> Options:
    path.write_bytes(data)
    path.chmod(mode)
    return Options(password_file=str(path))


@pytest.mark.parametrize(
    ("data", "password"),
    [(b"secret\n", "secret"), (b" two words \r\nmore\n", " two words "), ("gr\u00fcn".encode(), "gr\u00fcn")],
)
def test_the_password_is_the_first_line(tmp_path: Path, data: bytes, password: str) -> None:
    assert read_password(write(tmp_path / "password", data)) == password
    assert read_password(Options()) == ""


def test_a_file_without_a_password_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    for data, reason in ((b"", "has no password"), (b"\nsecret\n", "has no password"), (b"\xffsecret\n", "not UTF-8")):
        with pytest.raises(SettingsError, match=reason) as error:
            read_password(write(path, data))
        assert "secret" not in str(error.value)
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_password(Options(password_file=str(tmp_path / "none")))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    options = write(tmp_path / "password", b"secret\n", mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_password(options)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such paths")
def test_the_file_can_be_a_pipe_and_begin_with_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"secret\n")
    os.close(writer)
    assert read_password(Options(password_file=f"/dev/fd/{reader}")) == "secret"
    os.close(reader)
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "password", b"secret\n")
    assert read_password(Options(password_file="~/password")) == "secret"
