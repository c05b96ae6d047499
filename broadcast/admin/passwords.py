"""The question for a new password: hidden and asked twice on a terminal, else one line of the standard input."""

from __future__ import annotations

import sys
import warnings
from getpass import GetPassWarning, getpass

from broadcast.admin.status import REJECTED, STREAM, AdminError
from broadcast.core.errors import RejectedError
from broadcast.core.passwords import MAX_PASSWORD_BYTES, Password


def ask_password() -> Password:
    """Return a new password. Raises ``AdminError``."""
    try:
        if sys.stdin is not None and sys.stdin.isatty():
            return _ask_terminal()
        return _parse(_read_line())
    except UnicodeDecodeError:
        raise AdminError(REJECTED, "the password is not valid UTF-8") from None  # the cause quotes the password


def _ask_terminal() -> Password:
    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)
        try:
            password = _parse(getpass("Password: "))
            is_same = password.is_text(getpass("Once more: "))
        except EOFError:
            raise AdminError(REJECTED, "no password was given") from None
        except GetPassWarning:
            text = "this terminal would show the password: give it as a line of the standard input"
            raise AdminError(STREAM, text) from None
    if not is_same:
        raise AdminError(REJECTED, "the two passwords differ")
    return password


def _read_line() -> str:
    """Return the first line of the standard input without its end."""
    try:
        line = b"" if sys.stdin is None else sys.stdin.buffer.readline(4 * MAX_PASSWORD_BYTES)
    except OSError as error:
        raise AdminError(STREAM, f"the standard input cannot be read: {error.strerror or error}") from None
    if not line:
        raise AdminError(REJECTED, "the standard input has no line with a password")
    return line.removesuffix(b"\n").removesuffix(b"\r").decode()


def _parse(text: str) -> Password:
    try:
        return Password.parse(text)
    except RejectedError as error:
        raise AdminError(REJECTED, str(error).rstrip(".")) from None
