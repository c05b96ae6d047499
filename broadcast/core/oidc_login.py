"""Logins with an OpenID Connect provider, from the code or the person to the account. No network.

The account is found by the provider and its identifier of the person, never by a name. Therefore a login takes over no
account that exists. A user who is logged in joins the account to the identity instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broadcast.core.accounts import Account
from broadcast.core.errors import NameRejected, RegistrationClosed, RejectedError

if TYPE_CHECKING:
    from broadcast.core.accounts import OnAccount
    from broadcast.core.hub import Hub
    from broadcast.core.login_interfaces import DeviceCode, Identity
    from broadcast.core.membership import Member
    from broadcast.core.source import Source


class UnknownIdentity(RegistrationClosed):
    """The identity belongs to no account, and only an administrator makes accounts."""

    def __init__(self) -> None:
        RejectedError.__init__(self, "your identity belongs to no account here: log in with a password, then join it.")


class IdentityLogin:
    """The login of a person whom an OpenID Connect provider knows. *member* is the user, None before the nickname.

    *on_account* is called once, with the account, to which *member* is logged in then, or with the reason of a failure.
    """

    def __init__(self, hub: Hub, member: Member | None, on_account: OnAccount) -> None:
        self._hub = hub
        self._member = member
        self._account = None if member is None else member.account
        """The account to join to the identity."""
        self._on_account = on_account
        self._is_over = False

    @property
    def is_join(self) -> bool:
        """Whether the login joins the account of the user to an identity."""
        return self._account is not None

    def identify(self, identity: Identity | RejectedError) -> None:
        """Go on with *identity*, the person, or with the reason why the provider has not confirmed who it is."""
        if self._is_over:
            return
        try:
            if isinstance(identity, RejectedError):
                raise identity
            self._check_member()
            self._find_account(identity)
        except RejectedError as error:
            self._end(error)

    def _check_member(self) -> None:
        """Raise ``RejectedError`` if the user has left, or has logged in or out meanwhile."""
        member = self._member
        if member is None:
            return
        if member.account is not self._account or self._hub.people.members.get(member.id) is not member:
            raise RejectedError("you have logged in or out meanwhile: nothing was changed.")

    def _find_account(self, identity: Identity) -> None:
        hub, mine = self._hub, self._account
        account = hub.accounts.find_subject(identity.issuer, identity.subject)
        if mine is not None:
            if account is not None:
                name = "this account" if account is mine else f"the account {account.name}"
                raise RejectedError(f"your identity belongs to {name} already.")
            if mine.queued.subject:
                raise NameRejected(f"{mine.name} is joined to another identity.")

            def joined(error: RejectedError | None) -> None:
                self._end(mine if error is None else error)

            hub.accounts.change(mine, joined, issuer=identity.issuer, subject=identity.subject)
        elif account is not None:
            hub.accounts.change(account, last_used=hub.authenticator.time_of_day)
            self._log_in(account)
        elif not hub.authenticator.is_open:
            raise UnknownIdentity
        else:
            hub.authenticator.add_identity(
                hub.people.find_free_name(identity.name, self._member), identity, self._added
            )

    def _added(self, account: Account | RejectedError) -> None:
        if isinstance(account, Account):
            # Somebody may have taken the nickname while the account was being stored.
            owner = self._hub.people.owner_of(account.name)
            if owner is not None and owner is not self._member:
                self._hub.leave_registered_name(owner, unasked=True)
        if self._is_over:
            return
        if isinstance(account, Account):
            self._log_in(account)
        else:
            self._end(account)

    def _log_in(self, account: Account) -> None:
        def logged_in(error: RejectedError | None) -> None:
            self._end(error or account)

        try:
            self._check_member()
            if self._member is not None:
                self._hub.log_in(self._member, account, logged_in)
            else:
                self._end(account)
        except RejectedError as error:
            self._end(error)

    def _end(self, result: Account | RejectedError) -> None:
        if self._is_over:
            return
        self._close()
        self._on_account(result)

    def _close(self) -> None:
        self._is_over = True


class OidcLogin(IdentityLogin):
    """A login that the user confirms with a code, while it goes on here. Raises ``RejectedError``.

    *on_code* is called with the code to show. Nothing is called after ``cancel``.
    """

    def __init__(
        self,
        hub: Hub,
        source: Source,
        member: Member | None,
        on_code: Callable[[DeviceCode], None],
        on_account: OnAccount,
    ) -> None:
        if member is not None and member.cancel_login is not None:
            raise RejectedError("a login is under way already: use its code, or wait until that expires.")
        super().__init__(hub, member, on_account)
        self._on_code = on_code
        provider = hub.authenticator.check_code(source)
        self._cancel_provider = provider.begin(self._show_code, self.identify)
        if member is not None:
            member.cancel_login = self.cancel

    def cancel(self) -> None:
        """End the login. Nothing is called any more."""
        self._close()
        self._cancel_provider()

    def _close(self) -> None:
        super()._close()
        if self._member is not None:
            self._member.cancel_login = None

    def _show_code(self, code: DeviceCode) -> None:
        if not self._is_over:
            self._on_code(code)


def describe_code(code: DeviceCode) -> tuple[str, str, str]:
    """Return the lines that show *code*: the page, the code, and its time. The page never contains the code."""
    return (
        f"Open this page in a browser: {code.verification_uri}",
        f"Type this code there, only if you started this yourself: {code.user_code}",
        f"The code is valid for {max(code.seconds // 60, 1)} min.",
    )
