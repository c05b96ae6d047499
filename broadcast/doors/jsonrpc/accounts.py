"""The methods about accounts. Those with a password check it in the background, and pause the connection until then."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from broadcast.core.errors import NameRejected, NotPermitted, RejectedError, WrongPassword
from broadcast.core.oidc_login import IdentityLogin, OidcLogin
from broadcast.core.passwords import Password
from broadcast.core.sanitize import sanitize
from broadcast.doors.jsonrpc.account_messages import AccountResult, LoginCode, LoginEnded
from broadcast.doors.jsonrpc.encoder import encode_notification
from broadcast.doors.jsonrpc.errors import Code, RpcError, explain_rejection, refusal, session_gone
from broadcast.doors.jsonrpc.messages import Empty
from broadcast.doors.jsonrpc.responses import reject

if TYPE_CHECKING:
    from broadcast.core.accounts import Account, OnAccount
    from broadcast.core.hub import Hub, OnRenamed
    from broadcast.core.login_interfaces import DeviceCode
    from broadcast.core.membership import Member
    from broadcast.core.source import Source
    from broadcast.doors.jsonrpc.account_messages import (
        LoginParams,
        LogoutParams,
        PasswordParams,
        PasswordSafety,
        SetPasswordParams,
    )
    from broadcast.doors.jsonrpc.responses import Call
    from broadcast.doors.jsonrpc.session import Connection

NOT_ENCRYPTED = "This connection is not encrypted: others may read the password."
TLS_ONLY = "this server takes passwords only over TLS, or from its own machine."


def password_safety(hub: Hub, source: Source) -> PasswordSafety:
    """Return whether a password is safe on its way from *source*."""
    if source.is_safe:
        return "safe"
    return "refused" if hub.settings.passwords == "tls" else "readable"


def check_safety(hub: Hub, source: Source) -> None:
    """Raise ``NotPermitted`` if the server takes no passwords from *source*."""
    if password_safety(hub, source) == "refused":
        raise NotPermitted(TLS_ONLY)


def parse_existing(text: str) -> Password:
    """Return the password in *text*. Raises ``RpcError``, as for a wrong one, if no password has this form."""
    try:
        return Password.parse(text)
    except RejectedError as error:
        raise refusal("wrong-password", str(explain_rejection(error))) from None


def account_name(member: Member) -> str | None:
    """Return the registered nickname of the account of *member*, None if it is not logged in."""
    return None if member.account is None else member.account.name


def own_account(connection: Connection) -> Account:
    """Return the account to which the session is logged in. Raises ``NotPermitted``."""
    account = connection.session.member.account
    if account is None:
        raise NotPermitted("you are not logged in.")
    return account


def _own_password(connection: Connection) -> Account:
    """Return the own account, which has a password. Raises ``RejectedError``."""
    account = own_account(connection)
    if not account.queued.password_hash:
        raise NameRejected(f"{account.name} has no password: ask the administrator for one.")
    return account


def _check(
    connection: Connection,
    call: Call,
    begin: Callable[[OnAccount], None],
    on_account: Callable[[Account, OnRenamed], object],
    describe: Callable[[], AccountResult | Empty],
) -> None:
    """Run *begin*, which checks a password, and pause *connection* until it calls back.

    Then run *on_account*, which calls back at once or later, and may raise ``RpcError`` or ``RejectedError``. Answer
    *call* with the result of *describe* or with the error.
    """

    def end(outcome: Account | RejectedError) -> None:
        if isinstance(outcome, RejectedError):
            finish(outcome)
            return
        try:
            on_account(outcome, finish)
        except (RejectedError, RpcError) as error:
            finish(error)

    def finish(error: RejectedError | RpcError | None) -> None:
        if error is None:
            call.succeed(describe())
        elif isinstance(error, RpcError):
            call.fail(error)
        else:
            reject(connection.sessions.hub, call, error)
        connection.resume()
        session.end_check()

    session = connection.session
    connection.sessions.hub.authenticator.reject_if_busy()
    begin(end)
    session.begin_check()  # the call comes in a later turn
    connection.pause()


def _describe(member: Member) -> AccountResult:
    return AccountResult(nick=member.nick, account=account_name(member))


def register(connection: Connection, call: Call, params: PasswordParams) -> None:
    """Register the own nickname, and log in."""
    hub, session = connection.sessions.hub, connection.session
    member = session.member
    check_safety(hub, member.source)
    if hub.accounts.find(member.nick) is not None:
        raise RpcError(Code.INVALID_PARAMS, f"{member.nick} is registered already.")

    def registered(account: Account, on_done: OnRenamed) -> None:
        hub.log_in_registered(member, account)
        if session.ending:
            raise session_gone()
        on_done(None)

    begin = partial(hub.authenticator.register, member.nick, Password.parse(params.password), member.source)
    _check(connection, call, begin, registered, partial(_describe, member))


def login(connection: Connection, call: Call, params: LoginParams) -> None:
    """Log in, and take the registered nickname. A one-time login may also make an account, or join the own one."""
    hub, session = connection.sessions.hub, connection.session
    member = session.member
    check_safety(hub, member.source)
    is_once = not isinstance(params.login, UnsetType)
    secrets: list[str] = []
    """The remembered login that was made for the client, if there is one."""

    def logged_in(account: Account, on_done: OnRenamed) -> None:
        if session.connection is not connection or connection.is_gone:
            raise session_gone()
        if is_once:
            on_done(None)
        else:
            hub.log_in(member, account, on_done)

    def describe() -> AccountResult:
        call.on_sent = session.send_waiting
        return AccountResult(nick=member.nick, account=account_name(member), login=secrets[0] if secrets else UNSET)

    begin: Callable[[OnAccount], None]
    if not isinstance(params.login, UnsetType):
        begin = partial(_log_in_once, connection, params.login)
    elif not isinstance(params.password, UnsetType):
        nick = member.nick if isinstance(params.nick, UnsetType) else sanitize(params.nick)
        begin = partial(hub.authenticator.login, nick, parse_existing(params.password), member.source)
    else:
        raise RpcError(Code.INVALID_PARAMS, "Object missing required field `password`.")
    if params.remember:
        begin = partial(_begin_and_remember, hub, begin, secrets.append)
    _check(connection, call, begin, logged_in, describe)


def _log_in_once(connection: Connection, secret: str, on_account: OnAccount) -> None:
    """Log in with *secret*, a one-time login. Raises ``WrongPassword``."""
    hub, member = connection.sessions.hub, connection.session.member
    identity = hub.authenticator.one_time.take(secret)
    if identity is None:
        raise WrongPassword
    connection.sessions.call_soon(partial(IdentityLogin(hub, member, on_account).identify, identity))


def _begin_and_remember(
    hub: Hub, begin: Callable[[OnAccount], None], on_secret: Callable[[str], None], on_account: OnAccount
) -> None:
    """Run *begin*, and make a remembered login for its account, before *on_account* is called."""

    def begun(outcome: Account | RejectedError) -> None:
        def made(secret: str | RejectedError) -> None:
            if isinstance(secret, str):
                on_secret(secret)
            on_account(outcome)

        try:
            if isinstance(outcome, RejectedError):
                raise outcome
            hub.authenticator.remember(outcome, made)
        except RejectedError as error:  # the account may have been deleted meanwhile
            on_account(error)

    begin(begun)


def begin_oidc(connection: Connection, call: Call, _params: Empty) -> None:
    """Begin a login with OpenID Connect. The provider may be slow, so notifications report the code and the end."""
    hub, session = connection.sessions.hub, connection.session
    member = session.member

    def notify(message: LoginCode | LoginEnded) -> None:
        if session.connection is not None:
            session.connection.send(encode_notification(message))

    def show(code: DeviceCode) -> None:
        notify(LoginCode(user_code=code.user_code, verification_uri=code.verification_uri, expires_in=code.seconds))

    def finish(result: Account | RejectedError) -> None:
        error = None
        if isinstance(result, RejectedError):
            hub.rejections[result.kind] += 1
            error = str(explain_rejection(result))
        notify(LoginEnded(nick=member.nick, account=account_name(member), error=error))

    OidcLogin(hub, member.source, member, show, finish)
    call.succeed()


def logout(connection: Connection, call: Call, params: LogoutParams) -> None:
    """Log out, and take another nickname."""
    hub, member = connection.sessions.hub, connection.session.member
    account = own_account(connection)
    if hub.authenticator.is_required:
        raise NotPermitted("only people with an account can be here: quit in place of logging out.")

    def logged_out(_error: RejectedError | None) -> None:
        call.succeed(_describe(member))
        if not connection.ready:
            connection.resume()

    is_done = hub.log_out(member, logged_out)
    if not isinstance(params.login, UnsetType):
        hub.authenticator.forget(account.name, params.login)
    if not is_done:
        connection.pause()


def set_password(connection: Connection, call: Call, params: SetPasswordParams) -> None:
    """Change the password of the own account, and end all of its other sessions."""
    hub, member = connection.sessions.hub, connection.session.member
    check_safety(hub, member.source)

    def changed(account: Account, on_done: OnRenamed) -> None:
        hub.leave_accounts(account, "password changed", "The password has been changed: log in again.", but=member)
        on_done(None)

    old, new = parse_existing(params.old), Password.parse(params.new)
    begin = partial(hub.authenticator.set_password, _own_password(connection), old, new, member.source)
    _check(connection, call, begin, changed, Empty)


def drop(connection: Connection, call: Call, params: PasswordParams) -> None:
    """Delete the own account, and end all of its other sessions."""
    hub, session = connection.sessions.hub, connection.session
    member = session.member
    check_safety(hub, member.source)

    def dropped(account: Account, on_done: OnRenamed) -> None:
        hub.leave_accounts(account, "account deleted", "The account has been deleted.", but=member)
        if session.ending:
            raise session_gone()
        hub.log_out(member, on_done)

    def describe() -> AccountResult:
        if hub.authenticator.is_required:
            call.on_sent = partial(session.disconnect, "account deleted", "The account has been deleted.")
        return _describe(member)

    password = parse_existing(params.password)
    begin = partial(hub.authenticator.drop, _own_password(connection), password, member.source)
    _check(connection, call, begin, dropped, describe)
