"""The messages about accounts: the parameters and results of their methods.

No object with a password shows it in its ``repr``.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

Secret: TypeAlias = Annotated[str, Meta(description="A password: 8 to 256 bytes of UTF-8, without control characters.")]
RememberedLogin: TypeAlias = Annotated[
    str,
    Meta(
        max_length=64,
        description="A secret that is accepted in place of the password for 30 days, until the password is changed.",
    ),
]
AccountName: TypeAlias = Annotated[
    str | None, Meta(description="The registered nickname of the account to which the session is logged in, or null.")
]
PasswordSafety: TypeAlias = Annotated[
    Literal["safe", "readable", "refused"],
    Meta(
        description="Whether a password is safe on its way to the server. If it is readable, the connection comes from "
        "another machine and is not encrypted. Some servers then refuse all passwords."
    ),
]


class WithSecret(Struct, frozen=True, kw_only=True):
    """The base of parameters that hold a password."""

    def __repr__(self) -> str:
        """Return the name of the class alone."""
        return f"<{type(self).__name__}>"


class PasswordParams(WithSecret, frozen=True, kw_only=True):
    """The parameters of ``register`` and ``drop``."""

    password: Secret


class LoginParams(WithSecret, frozen=True, kw_only=True):
    """The parameters of ``login``."""

    nick: Annotated[
        str | UnsetType, Meta(description="The registered nickname; by default the own one. Not used with login.")
    ] = UNSET
    password: Annotated[Secret | UnsetType, Meta(description="Needed unless there is login.")] = UNSET
    login: Annotated[RememberedLogin | UnsetType, Meta(description="A one-time login, in place of the password.")] = (
        UNSET
    )
    remember: Annotated[bool, Meta(description="Whether the result has a new remembered login.")] = False


class LogoutParams(WithSecret, frozen=True, kw_only=True):
    """The parameters of ``logout``."""

    login: Annotated[RememberedLogin | UnsetType, Meta(description="A remembered login to void.")] = UNSET


class SetPasswordParams(WithSecret, frozen=True, kw_only=True):
    """The parameters of ``set_password``."""

    old: Secret
    new: Secret


class AccountResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The own nickname and account after ``register``, ``login``, ``logout`` or ``drop``."""

    nick: Annotated[str, Meta(description="The own nickname.")]
    account: AccountName
    login: RememberedLogin | UnsetType = UNSET


class LoginCode(Struct, frozen=True, kw_only=True):
    """The code of the login that ``oidc`` began. The user opens the page, logs in there, and types the code.

    Show the two apart, the code with the words *only if you started this yourself*. The page never contains the code.
    """

    user_code: Annotated[str, Meta(description="The code that the user types.")]
    verification_uri: Annotated[str, Meta(description="The page where the user types it.")]
    expires_in: Annotated[int, Meta(description="Seconds for which the code is valid.")]


class LoginEnded(Struct, frozen=True, kw_only=True):
    """The login that ``oidc`` began has ended, perhaps before there was a code."""

    nick: Annotated[str, Meta(description="The own nickname.")]
    account: AccountName
    error: Annotated[str | None, Meta(description="Why it has failed, for people; null if it has succeeded.")]
