"""The file ``known_hosts``, and the sentences about keys."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from broadcast.client.certificates import CertificateError
from broadcast.client.known_hosts import KnownHosts, introduction, known_keys, refusal
from broadcast.client.options import Options, SettingsError
from tests.platforms import IS_FOLDER

ONE, TWO = ("SHA256:" + digits * 32 for digits in ("a1", "b2"))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path / "broadcast" / "known_hosts"


def test_an_added_key_is_found_again(file: Path) -> None:
    hosts = KnownHosts(str(file))
    assert hosts.find("h:1") == ()
    hosts.add("H:1", ONE)
    hosts.add("[::1]:2", TWO)
    assert file.read_text() == f"h:1 {ONE}\n[::1]:2 {TWO}\n"
    assert (hosts.find("h:1"), hosts.find("[::1]:2"), hosts.find("h:2")) == ((ONE,), (TWO,), ())
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == ["known_hosts"]  # noqa: PTH208 -- nothing else is left behind


def test_a_file_that_the_user_has_edited_stays_as_it_is(file: Path) -> None:
    file.parent.mkdir()
    before = f"# ours\n\n  H:1   {ONE.upper()}\nh:1 {TWO[7:]}"
    file.write_text(before)
    hosts = KnownHosts(str(file))
    assert hosts.find("h:1") == (ONE, TWO)
    hosts.add("other:1", ONE)
    assert file.read_text() == f"{before}\nother:1 {ONE}\n"


@pytest.mark.parametrize("line", ["h:1", "h:1 SHA256:a1", f"h:1 {ONE} x", f"{ONE}"])
def test_a_line_that_cannot_be_read_trusts_nobody(file: Path, line: str) -> None:
    file.parent.mkdir()
    file.write_text(f"# ours\n{line}\nother:1 {ONE}\n")
    with pytest.raises(SettingsError) as error:
        KnownHosts(str(file)).find("other:1")
    assert str(error.value) == f"{file}: line 2 is not HOST:PORT and a fingerprint. Correct it, or remove it"


def test_a_file_that_cannot_be_used_is_an_error(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(SettingsError, match=rf"known_hosts cannot be read: {IS_FOLDER}$"):
        KnownHosts(str(file)).find("h:1")
    below = KnownHosts(str(file.parent / "known" / "x"))
    (file.parent / "known").write_bytes(b"\xff")
    assert below.find("h:1") == ()
    with pytest.raises(SettingsError, match=r"known.x cannot be written: "):
        below.add("h:1", ONE)
    with pytest.raises(SettingsError, match="known cannot be read: it is not UTF-8"):
        KnownHosts(str(file.parent / "known")).find("h:1")


def test_a_fingerprint_of_the_command_line_comes_before_a_known_key(file: Path) -> None:
    KnownHosts(str(file)).add("h:5556", ONE)
    options = Options(host="H", port=5556, tls=True)
    assert known_keys(options) == (ONE,)
    options.fingerprint = TWO
    assert known_keys(options) == (TWO,)
    assert known_keys(Options(host="h", port=5556)) == ()


def test_a_refusal_says_what_to_do(file: Path) -> None:
    options = Options(host="H", port=1, tls=True)
    advice = "Somebody may be intercepting the connection. Ask the operator of the server."
    assert refusal(CertificateError("", ONE, [TWO]), options) == [
        "THE KEY OF H:1 HAS CHANGED, and nothing was sent:",
        f"now {ONE},",
        f"was {TWO}.",
        advice,
        f"If the new key is right, remove the line of h:1 from {file}",
    ]
    assert refusal(CertificateError("is self-signed", ONE, []), options) == [
        "no connection to H:1: its certificate is self-signed.",
        f"If the server's log shows the same key, accept it with --fingerprint {ONE}",
    ]
    assert refusal(CertificateError("it cannot be read", "", []), options) == [
        "no connection to H:1: it cannot be read"
    ]
    assert refusal(CertificateError("x is no key", ONE, [TWO]), options) == [
        "no connection to H:1: x is no key.",
        f"The key is accepted with --fingerprint {ONE}",
    ]
    options.fingerprint = TWO
    assert refusal(CertificateError("", ONE, [TWO]), options) == [
        "THE KEY OF H:1 IS NOT THE EXPECTED ONE, and nothing was sent:",
        f"it is {ONE},",
        f"and not {TWO}.",
        advice,
        f"If the key is right, give it with --fingerprint {ONE}",
    ]
    assert introduction(CertificateError("has expired", ONE, []), options)[:2] == [
        "The certificate of H:1 has expired. Its key:",
        ONE,
    ]
