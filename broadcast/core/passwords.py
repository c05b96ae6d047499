"""Passwords: the rule for them, alike at every door, and a type that does not show what it holds. No hashing."""

from __future__ import annotations

import hmac
from typing import Final, NoReturn
from unicodedata import category, normalize

from broadcast.core.errors import RejectedError

MIN_PASSWORD_BYTES: Final = 8
MAX_PASSWORD_BYTES: Final = 256
"""Minimum and maximum length of a password, in bytes of UTF-8."""


class Password:
    """A password that follows the rule. Its text shows only as ``Password(***)``, and it cannot be pickled or copied.

    At a prompt for a password, every line but the empty one is a password, never a command. So ``quit`` is one, which
    is too short.
    """

    __slots__ = ("_encoded",)
    __hash__ = None  # type: ignore[assignment] # a password is no key of a mapping

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded

    @classmethod
    def parse(cls, text: str) -> Password:
        """Return *text* in Unicode's normalization form C as a password. Blanks count.

        Raises ``RejectedError``, whose text states the rule and not the password.
        """
        try:
            encoded = normalize("NFC", text).encode()
        except UnicodeEncodeError:
            raise RejectedError("a password is valid Unicode.") from None  # the cause quotes the password
        if "\ufffd" in text:  # the line door decodes bytes that are no UTF-8 to this character
            raise RejectedError("a password is valid Unicode.")
        if any(category(character) == "Cc" for character in text):
            raise RejectedError("a password has no control characters.")
        if not MIN_PASSWORD_BYTES <= len(encoded) <= MAX_PASSWORD_BYTES:
            raise RejectedError(f"a password has {MIN_PASSWORD_BYTES} to {MAX_PASSWORD_BYTES} bytes.")
        return cls(encoded)

    @property
    def encoded(self) -> bytes:
        """The bytes to hash."""
        return self._encoded

    def is_text(self, text: str) -> bool:
        """Return whether *text* is this password, in a time that does not depend on where they differ."""
        return hmac.compare_digest(self._encoded, normalize("NFC", text).encode("utf-8", "surrogatepass"))

    def __repr__(self) -> str:
        """Return the same text for each password."""
        return "Password(***)"

    def __eq__(self, _other: object) -> NoReturn:
        """Raise ``TypeError``: the time of a comparison would depend on the password."""
        msg = "passwords are compared with is_text, or by their hashes"
        raise TypeError(msg)

    def __reduce__(self) -> NoReturn:
        """Raise ``TypeError``: a password is neither pickled nor copied."""
        msg = "a password is not stored"
        raise TypeError(msg)
