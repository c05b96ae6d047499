"""The commands of operators: they act on people, names, addresses and rooms. No bytes, no connection.

``commands.py`` checks the permission before it calls a function of this module. Each action has an entry in the audit
trail. The reply comes once the entry is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from broadcast.core import nicknames
from broadcast.core.accounts import OPERATOR
from broadcast.core.command_context import Command, CommandContext, UsageError, end_wait, reply_lines, require_argument
from broadcast.core.decisions import Announcement, Mute, SlowMode
from broadcast.core.errors import JournalError, NameRejected, NotHere, RejectedError
from broadcast.core.events import CommandReply, ErrorReply
from broadcast.core.moderation import (
    CONFIRM_SECONDS,
    check_network,
    format_end,
    format_time,
    holds,
    network_of,
    parse_duration,
    parse_network,
    with_reason,
)
from broadcast.core.nicknames import casefold_key
from broadcast.core.records import AuditEntry
from broadcast.core.uploads import take_down

if TYPE_CHECKING:
    from broadcast.core.accounts import Account
    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Callback
    from broadcast.core.membership import Member
    from broadcast.core.moderation import Network, Target
    from broadcast.core.records import Ban, RecordChange

AUDIT_DEFAULT_LINES: Final = 20
"""Number of entries that ``/audit`` shows without an argument."""
AUDIT_MAX_LINES: Final = 1000
"""Maximum number of entries that ``/audit`` shows."""
REACHED_NAMES: Final = 20
"""Maximum number of people that the question before a ban names. The others are only counted."""
MAX_SLOW_SECONDS: Final = 3600
"""Maximum time between two lines of a person in slow mode, in seconds."""


# People


class _Person(NamedTuple):
    """The target of a command: an account with all of its sessions, or a session without an account."""

    name: str
    account: Account | None
    members: Sequence[Member]
    """The sessions that are here."""


def _find_person(context: CommandContext, name: str) -> _Person:
    """Return the person with the nickname *name*, who is here or has an account. Raises ``RejectedError``."""
    hub = context.hub
    account = hub.accounts.find(name)
    member = hub.people.owner_of(name)
    if member is not None and member.account is not None:
        account = member.account  # the owner of an account may use another nickname
    if account is not None:
        if account is context.member.account:
            raise RejectedError("you cannot do that to yourself.")
        return _Person(account.name, account, _sessions_of(hub, account))
    if member is None:
        raise NotHere(f"{name[: nicknames.MAX_NICKNAME_CHARS]} is not here.")
    return _Person(member.nick, None, [member])


def _sessions_of(hub: Hub, account: Account) -> list[Member]:
    return [member for member in hub.people.members.values() if member.account is account]


def _find_account(context: CommandContext, name: str) -> Account:
    """Return the account with the nickname *name*. Raises ``RejectedError``."""
    account = context.hub.accounts.find(name)
    if account is None:
        raise NameRejected(f"{name[: nicknames.MAX_NICKNAME_CHARS]} is not registered.")
    return account


def _operator_name(context: CommandContext) -> str:
    """Return the name of the operator's account. The operator may use another nickname."""
    account = context.member.account
    assert account is not None
    return account.name


def _announce_about(context: CommandContext, members: Iterable[Member], text: str, *decisions: Mute) -> None:
    """Announce *text* in all rooms of *members*, and *decisions* with it."""
    for room in {room.name: room for member in members for room in context.hub.rooms_of(member)}.values():
        room.announce(text, *decisions)


# Replies


def _record(
    context: CommandContext,
    at: float,
    action: str,
    target: str,
    detail: str,
    reply: str,
    *changes: RecordChange,
    on_stored: Callback = lambda: None,
) -> None:
    """Store *changes* and the entry for an *action*, which was done at the time *at*. Then send *reply*.

    *on_stored* is called before that, even if nothing can be stored.
    """
    context.pause()

    def stored(error: JournalError | None) -> None:
        on_stored()
        if error is None:
            reply_lines(context, reply)
        else:
            context.peer.send(ErrorReply(f"{reply} It cannot be stored, so a restart forgets it: {error}"))
        context.resume()

    entry = AuditEntry(at, _operator_name(context), action, target, detail)
    context.hub.moderation.write(entry, changes, stored)


def _split(argument: str) -> tuple[str, str]:
    """Return the first word of *argument*, and the rest. Raises ``UsageError`` if there is none."""
    word, _, rest = argument.strip().partition(" ")
    if not word:
        raise UsageError
    return word, rest.strip()


def _split_duration(rest: str) -> tuple[int | None, str]:
    """Return the seconds at the start of *rest*, None if it begins with no duration, and the text after it."""
    word, _, text = rest.partition(" ")
    seconds = parse_duration(word)
    return (None, rest) if seconds is None else (seconds, text.strip())


def _reject_mistyped_duration(why: str) -> None:
    """Raise ``RejectedError`` if the reason *why* begins like a time, because a ban without a time has no end."""
    word = why.partition(" ")[0]
    if word[:1].isdigit() and word.isalnum():
        raise RejectedError(f"nobody is banned, because {_explain_duration(word)} A reason begins with another word.")


def _wrong_duration(word: str) -> RejectedError:
    """Return the reason why *word*, in the place of a time, is rejected."""
    return RejectedError(_explain_duration(word)) if word[:1].isdigit() else UsageError()


def _explain_duration(word: str) -> str:
    return f"{word[:24]} is no time. Times are 30s, 10m, 2h, 7d or 2w."


def _until(at: float, seconds: int | None) -> float | None:
    return None if seconds is None else at + seconds


# Commands about people


def _kick(context: CommandContext, argument: str, at: float) -> None:
    """End all sessions of a person."""
    name, why = _split(argument)
    person = _find_person(context, name)
    if not person.members:
        raise NotHere(f"{person.name} is not here.")
    outcomes: list[RejectedError | None] = []

    def expelled(error: RejectedError | None) -> None:
        outcomes.append(error)
        if len(outcomes) < len(person.members):
            return
        if None in outcomes:
            _record(context, at, "kick", person.name, why, f"{person.name} is kicked.")
        else:
            end_wait(context, error)

    context.pause()  # another server may have to answer
    for member in person.members:
        context.hub.expel(member, "kicked", _operator_name(context), why, expelled)


def _mute(context: CommandContext, argument: str, at: float) -> None:
    """Let others read no text of a person."""
    name, rest = _split(argument)
    seconds, rest = _split_duration(rest)
    if rest:
        raise _wrong_duration(rest)
    person = _find_person(context, name)
    until = _until(at, seconds)
    mutes = _mutes_of(context, person, until)
    for mute in mutes:
        context.hub.decide(mute)
    end = format_end(until)
    by = _operator_name(context)
    _announce_about(context, person.members, f"{person.name} was muted by {by}{end}.", *mutes)
    _record(context, at, "mute", person.name, end.strip(), f"{person.name} is muted{end}.")


def _unmute(context: CommandContext, argument: str, at: float) -> None:
    """End the mute of a person."""
    name, rest = _split(argument)
    if rest:
        raise UsageError
    person = _find_person(context, name)
    mutes = _mutes_of(context, person, 0)
    ended = [context.hub.decide(mute) for mute in mutes]
    if not any(ended):
        raise NameRejected(f"{person.name} is not muted.")
    _announce_about(context, person.members, f"{person.name} was unmuted by {_operator_name(context)}.", *mutes)
    _record(context, at, "unmute", person.name, "", f"{person.name} is not muted any more.")


def _mutes_of(context: CommandContext, person: _Person, until: float | None) -> list[Mute]:
    """Return the mutes of each session of *person*, and of the account, up to the time *until*; see ``Mute``."""
    targets: list[tuple[int | None, int | None]] = [(member.id, None) for member in person.members]
    if person.account is not None:
        targets.append((None, person.account.id))
    return [Mute(*target, until, context.hub.next_decision_number()) for target in targets]


def _op(context: CommandContext, argument: str, at: float) -> None:
    """Make the owner of an account an operator."""
    _change_role(context, argument, at, "op", OPERATOR)


def _deop(context: CommandContext, argument: str, at: float) -> None:
    """Make an operator an ordinary person."""
    _change_role(context, argument, at, "deop", "")


def _change_role(context: CommandContext, argument: str, at: float, action: str, role: str) -> None:
    name, rest = _split(argument)
    if rest:
        raise UsageError
    account = _find_account(context, name)
    state = "is an operator now" if role else "is no operator any more"
    if account.queued.role == role:
        raise NameRejected(f"{account.name} {'is an operator already' if role else 'is no operator'}.")

    def changed(error: RejectedError | None) -> None:
        if error is not None:
            end_wait(context, error)
            return
        _announce_about(context, _sessions_of(context.hub, account), f"{account.name} {state}.")
        context.hub.announce_role(account)
        _record(context, at, action, account.name, "", f"{account.name} {state}.")

    context.hub.accounts.change(account, changed, role=role)
    context.pause()


# Bans


def _ban(context: CommandContext, argument: str, at: float) -> None:
    """Ban a person or a network."""
    target, rest = _split(argument)
    seconds, why = _split_duration(rest)
    if seconds is None:
        _reject_mistyped_duration(why)
    network = _network_in(context, target)
    if network is None:
        _ban_name(context, target, at, _until(at, seconds), why, argument)
    else:
        _ban_network(context, network, at, _until(at, seconds), why, argument)


def _network_in(context: CommandContext, target: str) -> Network | None:
    """Return the network *target*; None if it is a name. An IPv4 address without a prefix can be a nickname."""
    network = parse_network(target)
    if network is None and ("/" in target or ":" in target):
        raise NameRejected(f"{target[:64]} is no network. Write it as in 192.0.2.0/24 or 2001:db8::/64.")
    if network is not None and "/" not in target and ":" not in target:
        hub = context.hub
        is_name = hub.accounts.find(target) is not None or hub.people.owner_of(target) is not None
        return None if is_name else network
    return network


def _ban_network(
    context: CommandContext, network: Network, at: float, until: float | None, why: str, argument: str
) -> None:
    hub, operator = context.hub, context.member
    check_network(network, operator.source.address)
    reached = _members_in(hub, network)
    if not _is_confirmed(context, f"{network} reaches {_describe(reached)} here", argument, at):
        return
    by = _operator_name(context)
    change = hub.moderation.ban("address", str(network), str(network), why, by, at, until)
    end = format_end(until)
    expired = hub.moderation.remove_expired(at)
    hint = _unban_hint(str(network), until)
    detail = with_reason(f"address{end}", why)
    reply = f"the address {network} is banned{end}.{hint}"
    expel_others = _expel_banned(hub, reached, by, why)
    _record(context, at, "ban", str(network), detail, reply, *expired, change, on_stored=expel_others)


def _expel_banned(hub: Hub, members: Sequence[Member], by: str, why: str) -> Callback:
    """End the sessions of *members* on this node. Return a function that ends the others, once the ban is stored.

    So the ban is in force on all nodes of a cluster for those who have read that they left.
    """
    for member in members:
        if not member.is_remote:
            hub.expel(member, "banned", by, why)

    def expel_others() -> None:
        for member in members:
            if member.is_remote:
                hub.expel(member, "banned", by, why)

    return expel_others


def _ban_name(context: CommandContext, name: str, at: float, until: float | None, why: str, argument: str) -> None:
    hub, by = context.hub, _operator_name(context)
    try:
        person = _find_person(context, name)
    except NotHere:
        person = _Person(nicknames.validate(name, unicode=hub.settings.unicode_nicknames), None, ())
    networks = _networks_of(person.members)
    own = [network for network in networks if holds(network, context.member.source.address)]
    networks = [network for network in networks if network not in own]
    others = [member for network in networks for member in _members_in(hub, network) if member not in person.members]
    if others:
        question = f"{person.name} comes from {_join(networks)}, which also reaches {_describe(others)} here"
        if not _is_confirmed(context, question, argument, at):
            return
    kind: Target = "nickname" if person.account is None else "account"
    value = casefold_key(person.name) if person.account is None else str(person.account.id)
    targets: list[tuple[Target, str]] = [(kind, value), *(("address", str(network)) for network in networks)]
    changes = [hub.moderation.ban(*target, person.name, why, by, at, until) for target in targets]
    end = format_end(until)
    also = f" and the address {_join(networks)}" if networks else ""
    note = "" if person.members else f" {person.name} is not here."
    if any(network_of(member.source.address) is None for member in person.members):
        note += " Not the address, which is of this machine or a proxy."
    note += " Not the address, which is also yours." if own else ""
    verb = "are" if networks else "is"
    reply = f"the {kind} {person.name}{also} {verb} banned{end}.{note}{_unban_hint(person.name, until)}"
    changes = [*hub.moderation.remove_expired(at), *changes]
    detail = with_reason(f"{kind}{also}{end}", why)
    expel_others = _expel_banned(hub, [*person.members, *others], by, why)
    _record(context, at, "ban", person.name, detail, reply, *changes, on_stored=expel_others)


def _unban_hint(name: str, until: float | None) -> str:
    """Return how a ban of *name* without an end can end; nothing if it has an end."""
    return f" /unban {name} ends it." if until is None else ""


def _networks_of(members: Iterable[Member]) -> list[Network]:
    """Return the networks from which *members* come, without this machine."""
    networks = {network_of(member.source.address): None for member in members}
    return [network for network in networks if network is not None]


def _members_in(hub: Hub, network: Network) -> list[Member]:
    return [member for member in hub.people.members.values() if holds(network, member.source.address)]


def _join(networks: Iterable[Network]) -> str:
    return ", ".join(map(str, networks))


def _describe(members: Sequence[Member]) -> str:
    """Return the number of *members*, and their first nicknames."""
    if not members:
        return "nobody"
    names = ", ".join(member.nick for member in members[:REACHED_NAMES])
    more = f" and {len(members) - REACHED_NAMES} more" if len(members) > REACHED_NAMES else ""
    return f"{len(members)} {'person' if len(members) == 1 else 'people'} ({names}{more})"


def _is_confirmed(context: CommandContext, question: str, argument: str, at: float) -> bool:
    """Return whether the operator has given the command for the second time. If not, say what it would do."""
    if context.hub.moderation.confirm(context.member.id, argument.strip(), at):
        return True
    reply_lines(
        context, f"{question}. Nothing is banned yet: give the same command again within {CONFIRM_SECONDS} seconds."
    )
    return False


def _unban(context: CommandContext, argument: str, at: float) -> None:
    """End the bans of a name, with the address that was banned together with it, or of a network."""
    name, rest = _split(argument)
    if rest:
        raise UsageError
    account = context.hub.accounts.find(name)
    changes = context.hub.moderation.unban(name, None if account is None else account.id)
    if not changes:
        raise NameRejected(f"{name[:64]} is not banned. /bans lists the bans.")
    _record(context, at, "unban", name, "", f"{name} is not banned any more.", *changes)


def _bans(context: CommandContext, argument: str, at: float) -> None:
    """List the bans."""
    if argument.strip():
        raise UsageError
    lines = [*map(_format_ban, context.hub.moderation.bans(at))] or ["nobody is banned."]
    context.peer.send_lazily(map(CommandReply, lines))


def _format_ban(ban: Ban) -> str:
    subject = f"{ban.target} {ban.value if ban.target == 'address' else ban.name}"
    of = f" of {ban.name}" if ban.target == "address" and ban.name != ban.value else ""
    return with_reason(f"{subject}{of}{format_end(ban.until)}, by {ban.by}", ban.reason)


# Commands about rooms


def _announce(context: CommandContext, argument: str, at: float) -> None:
    """Announce a text in all rooms."""
    text = require_argument(argument).strip()
    context.hub.decide(Announcement(f"{_operator_name(context)} announces: {text}"))
    _record(context, at, "announce", "", text, "announced in all rooms.")


def _slow(context: CommandContext, argument: str, at: float) -> None:
    """Show or set the minimum time between two lines of a person in the room."""
    word = argument.strip().lower()
    room, moderation = context.room, context.hub.moderation
    if not word:
        now = moderation.slow_seconds(room.name)
        reply_lines(context, f"slow mode is {f'on: one line in {now} s' if now else 'off'}.")
        return
    seconds = 0 if word == "off" else parse_duration(word)
    if seconds is None:
        raise _wrong_duration(word)
    if seconds > MAX_SLOW_SECONDS:
        raise RejectedError(f"slow mode has at most {MAX_SLOW_SECONDS} seconds between two lines.")
    slow = SlowMode(room.name, seconds, context.hub.next_decision_number())
    context.hub.decide(slow)
    state = f"on: each person can say one line in {seconds} s" if seconds else "off"
    room.announce(f"Slow mode is {state}.", slow)
    _record(context, at, "slow", room.name, word, f"slow mode is {state}.")


# Files


def _remove_file(context: CommandContext, argument: str, at: float) -> None:
    """Remove a shared file, and all others with the same content."""
    address, why = _split(argument)
    archive = context.hub.require_uploads().archive
    is_done = is_late = False

    def remove() -> None:
        nonlocal is_done
        is_done = True
        try:
            name, reply = take_down(archive, address)
        except RejectedError as error:
            if not is_late:
                raise
            end_wait(context, error)
        else:
            _record(context, at, "remove-file", name, why, reply)

    archive.update(remove)
    is_late = True
    if not is_done:
        context.pause()


# The audit trail


def _audit(context: CommandContext, argument: str, at: float) -> None:
    """Show the newest entries of the audit trail."""
    word = argument.strip()
    if word and not (word.isascii() and word.isdecimal() and len(word) < 18 and int(word)):
        raise UsageError
    context.pause()

    def show(result: Sequence[AuditEntry] | JournalError) -> None:
        if isinstance(result, JournalError):
            context.peer.send(ErrorReply(f"the audit trail cannot be read: {result}"))
        else:
            context.peer.send_lazily(map(CommandReply, _format_entries(result)))
        context.resume()

    context.hub.moderation.read_audit(min(int(word or AUDIT_DEFAULT_LINES), AUDIT_MAX_LINES), show)


def _format_entries(entries: Sequence[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        parts = f"{format_time(entry.at)} {entry.by}: {entry.action} {entry.target}".rstrip()
        yield with_reason(parts, entry.detail)
    if not entries:
        yield "no operator has done anything yet."


OPERATOR_COMMANDS: Final = (
    Command("kick", "NAME [WHY]", "ends the session of NAME", _kick, names_person=True),
    Command("mute", "NAME [1h]", "lets nobody read what NAME writes, for this time", _mute, names_person=True),
    Command("unmute", "NAME", "ends that", _unmute, names_person=True),
    Command(
        "ban",
        "NAME|ADDRESS/PREFIX [7d] [WHY]",
        "keeps a person or a network out, for this time",
        _ban,
        names_person=True,
    ),
    Command("unban", "NAME|ADDRESS/PREFIX", "ends that", _unban),
    Command("bans", "", "lists the bans", _bans),
    Command("op", "NAME", "makes the owner of an account an operator", _op, names_person=True),
    Command("deop", "NAME", "ends that", _deop, names_person=True),
    Command("announce", "TEXT", "says it in all rooms, as the server", _announce),
    Command("slow", "[5s|off]", "lets each person say one line in this time", _slow),
    Command("remove-file", "ADDRESS [WHY]", "removes a shared file: /files shows the addresses", _remove_file),
    Command("audit", "[N]", "the last N actions of operators", _audit),
)
