"""The commands about accounts. Each command asks for its passwords, which are no part of its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from broadcast.core.accounts import DROPPED, PASSWORD_CHANGED, Account
from broadcast.core.command_context import Command, CommandContext, UsageError, end_wait, reply_lines
from broadcast.core.errors import NameRejected, NotPermitted, RegistrationClosed, RejectedError
from broadcast.core.nicknames import MAX_NICKNAME_CHARS
from broadcast.core.oidc_login import OidcLogin, describe_code
from broadcast.core.password_dialogue import NEW_PASSWORD, OLD_PASSWORD, ONCE_MORE, PASSWORD, PasswordDialogue

if TYPE_CHECKING:
    from broadcast.core.accounts import OnAccount
    from broadcast.core.hub import Hub
    from broadcast.core.login_interfaces import DeviceCode
    from broadcast.core.membership import Member
    from broadcast.core.passwords import Password
    from broadcast.core.source import Source

_with_words: Final = re.compile(r"/(login|register|passwd|drop)\s+\S", re.IGNORECASE)
_login_name: Final = re.compile(r"/login\s+(\S+)", re.IGNORECASE)
_start: Final = re.compile(r"\s*/(login|register|passwd|drop)", re.IGNORECASE)


def _asked_for(command: str) -> RejectedError:
    """Return the reason why words after *command* are refused. They may be a password, so they are not shown."""
    syntax = "/login NAME" if command.lower() == "login" else f"/{command.lower()}"
    return RejectedError(f"the password is asked for: type {syntax} and nothing else.")


def reject_password(line: str) -> None:
    """Raise ``RejectedError`` if *line* is a command that asks for a password, with words that may be the password."""
    if command := _with_words.match(line):
        raise _asked_for(command[1])


def is_password_command(line: str) -> bool:
    """Return whether *line* begins like a command that asks for a password. Such a line is never said."""
    return _start.match(line) is not None


def reject_misspelled(verb: str) -> None:
    """Raise ``RejectedError`` if the unknown command *verb* begins like one that asks for a password.

    The rest may be the password, after a character that is no blank. An error does not show it.
    """
    if command := _start.match(f"/{verb}"):
        raise _asked_for(command[1])


def parse_login(line: str) -> str | None:
    """Return the NAME of ``/login NAME``, the *line* at the prompt for the nickname; None if it is no account command.

    Raises ``RejectedError``, also for every other command.
    """
    line = line.strip()
    if login := _login_name.fullmatch(line):
        return login[1]
    if command := _start.match(line):
        reject_password(line)
        if command[1].lower() == "login":
            raise RejectedError("usage: /login NAME")
        raise RejectedError(f"choose a nickname first: /{command[1].lower()} comes after it.")
    if line.startswith("/"):
        raise RejectedError("choose a nickname first: commands come after it. quit leaves.")
    return None


def login_dialogue(hub: Hub, name: str, source: Source, finish: Callable[[Account], None]) -> PasswordDialogue:
    """Return the dialogue that logs in to the account with the nickname *name*, whether it is registered or not."""
    name = name[: MAX_NICKNAME_CHARS + 1]  # a longer one is not registered either

    def submit(passwords: Sequence[Password], on_result: OnAccount) -> None:
        hub.authenticator.login(name, passwords[0], source, on_result)

    return PasswordDialogue((PASSWORD,), submit, finish)


def _login(context: CommandContext, argument: str, at: float) -> None:
    hub, member, name = context.hub, context.member, argument.strip()
    if len(name.split()) > 1:
        raise _asked_for("login")
    if not name:
        if member.account is not None:
            raise RejectedError(f"you are logged in as {member.account.name}. /login NAME logs in to another account.")
        raise NameRejected(f"{member.nick} is not registered: /register does that. /login NAME logs in as NAME.")

    def finish(account: Account) -> None:
        if not hub.log_in(member, account, logged_in):
            context.pause()

    def logged_in(error: RejectedError | None) -> None:
        if error is None:
            context.show_waiting(shown)
        else:
            end_wait(context, error)

    def shown() -> None:
        reply_lines(context, f"You are logged in as {context.nick}.")
        context.resume()

    context.ask(login_dialogue(hub, name, member.source, finish))


def _register(context: CommandContext, argument: str, at: float) -> None:
    hub, member, nick = context.hub, context.member, context.nick
    _reject_words("register", argument)
    if member.account is not None:
        # Without registration there is no reason to log out, and with required accounts that is impossible.
        advice = "/logout ends that." if hub.authenticator.is_open else "Nobody can register another nickname here."
        raise RejectedError(f"you are logged in as {member.account.name}. {advice}")
    if not hub.authenticator.is_open:
        raise RegistrationClosed

    def submit(passwords: Sequence[Password], on_result: OnAccount) -> None:
        hub.authenticator.register(nick, passwords[0], member.source, partial(registered, on_result))

    def registered(on_result: OnAccount, result: Account | RejectedError) -> None:
        if isinstance(result, Account):
            hub.log_in_registered(member, result)
        on_result(result)

    def finish(account: Account) -> None:
        reply_lines(context, f"{account.name} is registered, and you are logged in.")

    context.ask(PasswordDialogue((PASSWORD, ONCE_MORE), submit, finish))


def _logout(context: CommandContext, argument: str, at: float) -> None:
    hub, member, nick = context.hub, context.member, context.nick
    require_account(member)
    if hub.authenticator.is_required:
        raise RejectedError("only people with an account may be here. quit leaves.")

    def logged_out(error: RejectedError | None) -> None:
        renamed = "" if member.nick == nick else f", and your nickname is {member.nick}"
        reply_lines(context, f"You are logged out{renamed}.")
        end_wait(context, error)

    if not hub.log_out(member, logged_out):
        context.pause()


def _passwd(context: CommandContext, argument: str, at: float) -> None:
    hub, member = context.hub, context.member
    _reject_words("passwd", argument)
    account = _require_password(member)

    def check(old: Password, on_result: OnAccount) -> None:
        hub.authenticator.login(account.name, old, member.source, on_result)

    def submit(passwords: Sequence[Password], on_result: OnAccount) -> None:
        old, new, _ = passwords
        hub.authenticator.set_password(account, old, new, member.source, partial(changed, on_result))

    def changed(on_result: OnAccount, result: Account | RejectedError) -> None:
        if isinstance(result, Account):
            notice = f"The password of {result.name} was changed: log in again."
            hub.leave_accounts(result, PASSWORD_CHANGED, notice, but=member)
        on_result(result)

    def finish(_account: Account) -> None:
        reply_lines(context, "Your password is changed.")

    context.ask(PasswordDialogue((OLD_PASSWORD, NEW_PASSWORD, ONCE_MORE), submit, finish, check))


def _drop(context: CommandContext, argument: str, at: float) -> None:
    hub, member = context.hub, context.member
    _reject_words("drop", argument)
    account = _require_password(member)

    def submit(passwords: Sequence[Password], on_result: OnAccount) -> None:
        hub.authenticator.drop(account, passwords[0], member.source, partial(dropped, on_result))

    def dropped(on_result: OnAccount, result: Account | RejectedError) -> None:
        if isinstance(result, Account):
            if not hub.authenticator.is_required and hub.people.members.get(member.id) is member:
                hub.log_out(member)  # the session continues without an account
            hub.leave_accounts(result, DROPPED, f"The account {result.name} was deleted.")
        on_result(result)

    def finish(account: Account) -> None:
        reply_lines(context, f"{account.name} is not registered any more.")

    context.ask(PasswordDialogue((PASSWORD,), submit, finish))


def _oidc(context: CommandContext, argument: str, at: float) -> None:
    if argument.strip():
        raise UsageError
    hub, member = context.hub, context.member

    def show(code: DeviceCode) -> None:
        reply_lines(context, *describe_code(code))

    def finish(result: Account | RejectedError) -> None:
        if isinstance(result, RejectedError):
            context.send_error(result)
        elif login.is_join:
            reply_lines(context, f"{result.name} is joined to your identity: /oidc logs in to it from now on.")
        else:
            reply_lines(context, f"You are logged in as {result.name}.")

    login = OidcLogin(hub, member.source, member, show, finish)


def _reject_words(command: str, argument: str) -> None:
    if argument.strip():
        raise _asked_for(command)


def require_account(member: Member) -> Account:
    """Return the account to which *member* is logged in. Raises ``NotPermitted``."""
    if member.account is None:
        raise NotPermitted("you are not logged in. /login NAME logs in as NAME.")
    return member.account


def _require_password(member: Member) -> Account:
    """Return the account to which *member* is logged in, if it has a password. Raises ``RejectedError``."""
    account = require_account(member)
    if not account.queued.password_hash:
        raise NameRejected(f"{account.name} has no password: ask the administrator for one.")
    return account


ACCOUNT_COMMANDS: Final = (
    Command("register", "", "registers your nickname: asks for a password, and only you can use it then", _register),
    Command("login", "NAME", "logs in to the registered nickname NAME: asks for its password", _login),
    Command("oidc", "", "logs in with the OpenID Connect provider: shows a page and a code for your browser", _oidc),
    Command("logout", "", "logs out: you get another nickname", _logout),
    Command("passwd", "", "changes your password: asks for the old one and the new one", _passwd),
    Command("drop", "", "deletes your account: asks for the password, and anybody can use the nickname then", _drop),
)
