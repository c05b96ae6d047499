"""A model of moderation: what people can do and what others read, after any sequence of actions of an operator."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from math import inf

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broadcast.core.errors import RejectedError
from tests.harness import Person, World
from tests.operators import connect_from, give_account, join_operator, member_of

NICKS = ("bob", "carol")
HOSTS = ("192.0.2.7", "2001:db8::1", "2001:db8::2", "127.0.0.1")
NETWORKS = ("192.0.2.0/24", "192.0.2.7/32", "2001:db8::/64")
TIMES = {"": inf, "10s": 10.0, "1m": 60.0}


def person_network(host: str) -> str | None:
    """Return the network that is banned with a person at *host*."""
    if host == "127.0.0.1":
        return None
    return f"{host}/32" if "." in host else str(ip_network(f"{host}/64", strict=False))


@dataclass(eq=False)
class Somebody:
    """A person who is here."""

    person: Person
    nick: str
    host: str
    is_logged_in: bool = False
    muted_until: float = 0.0
    last_line: float = -inf


class Moderated(RuleBasedStateMachine):
    """A server, and what the model expects of it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.operator = join_operator(self.world, "ann")
        self.here: dict[str, Somebody] = {}
        self.registered: set[str] = set()
        self.muted_accounts: dict[str, float] = {}
        self.bans: dict[str, tuple[float, str]] = {}
        """The end of each ban, and the name with which it was made, by network or by kind and nickname."""
        self.slow = 0.0
        self.slow_lines: dict[object, float] = {}
        self.count = 0

    @property
    def now(self) -> float:
        return self.world.wall()

    def is_banned(self, *keys: str) -> bool:
        return any(self.bans.get(key, (0.0, ""))[0] > self.now for key in keys)

    def is_host_banned(self, host: str) -> bool:
        networks = [key for key in self.bans if "/" in key]
        return host != "127.0.0.1" and self.is_banned(*(key for key in networks if ip_address(host) in ip_network(key)))

    def is_muted(self, somebody: Somebody) -> bool:
        account_end = self.muted_accounts.get(somebody.nick, 0.0) if somebody.is_logged_in else 0.0
        return max(somebody.muted_until, account_end) > self.now

    def command(self, line: str) -> list[str]:
        self.operator.read()
        self.operator.say(line)
        return [reply for reply in self.operator.lines() if reply.startswith("->")]

    # People

    @initialize(is_registered=st.booleans())
    def begin(self, is_registered: bool) -> None:
        for nick in NICKS:
            self.arrive(nick, HOSTS[0])
        if is_registered:
            self.register_as("bob")

    @rule(nick=st.sampled_from(NICKS), host=st.sampled_from(HOSTS))
    def enter(self, nick: str, host: str) -> None:
        self.arrive(nick, host)

    def arrive(self, nick: str, host: str) -> None:
        person = connect_from(self.world, host)
        if self.is_host_banned(host):
            assert person.transport.finished
            assert " * You are banned" in person.read()
            return
        assert not person.transport.finished
        person.say(nick)
        is_owner = nick in self.registered
        if is_owner:
            person.send("correct horse\r\n")
        kind = "account" if is_owner else "nickname"
        if self.is_banned(f"{kind} {nick}"):
            assert b"banned" in bytes(person.transport.sent)
            person.vanish()
        elif nick in self.here and not is_owner:
            assert b"is taken" in bytes(person.transport.sent)
            person.vanish()
        else:
            if nick in self.here:
                assert self.here.pop(nick).person.transport.finished  # the owner has taken it over
            self.here[nick] = Somebody(person, nick, host, is_logged_in=is_owner)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        somebody = self.here.pop(data.draw(st.sampled_from(sorted(self.here))))
        somebody.person.say("quit")
        assert somebody.person.transport.finished

    @precondition(lambda self: self.here)
    @rule(data=st.data(), host=st.sampled_from(HOSTS))
    def come_back(self, data: st.DataObject, host: str) -> None:
        nick = data.draw(st.sampled_from(sorted(self.here)))
        self.here.pop(nick).person.say("quit")
        self.arrive(nick, host)
        if nick in self.here:
            self.speak_as(self.here[nick])

    @precondition(lambda self: self.here.keys() - self.registered)
    @rule(data=st.data())
    def register(self, data: st.DataObject) -> None:
        self.register_as(data.draw(st.sampled_from(sorted(self.here.keys() - self.registered))))

    def register_as(self, nick: str) -> None:
        give_account(self.world, nick, password="correct horse")
        self.registered.add(nick)
        self.here[nick].is_logged_in = True

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def speak(self, data: st.DataObject) -> None:
        self.speak_as(self.here[data.draw(st.sampled_from(sorted(self.here)))])

    def speak_as(self, somebody: Somebody) -> None:
        self.count += 1
        text = f"line {self.count}"
        self.operator.read()
        somebody.person.say(text)
        heard = f"{somebody.nick}: {text}" in self.operator.lines()
        key = somebody.nick if somebody.is_logged_in else somebody
        waits = self.slow and self.now - self.slow_lines.get(key, -inf) < self.slow
        assert heard is not (self.is_muted(somebody) or bool(waits))
        if heard and self.slow:
            self.slow_lines[key] = self.now

    @precondition(lambda self: self.here)
    @rule(
        data=st.data(), word=st.sampled_from(["/kick ann", "/ban ann", "/mute ann", "/announce x", "/op bob", "/bans"])
    )
    def overreach(self, data: st.DataObject, word: str) -> None:
        somebody = self.here[data.draw(st.sampled_from(sorted(self.here)))]
        somebody.person.transport.sent.clear()
        somebody.person.say(word)
        assert b"is for operators." in bytes(somebody.person.transport.sent)

    # The operator

    @rule(nick=st.sampled_from(NICKS), time=st.sampled_from(sorted(TIMES)))
    def mute(self, nick: str, time: str) -> None:
        until = self.now + TIMES[time]
        replies = self.command(f"/mute {nick} {time}")
        if nick in self.here:
            self.here[nick].muted_until = until
        if nick in self.registered:
            self.muted_accounts[nick] = until
        assert ("is muted" in replies[-1]) is (nick in self.here or nick in self.registered)

    @rule(nick=st.sampled_from(NICKS))
    def unmute(self, nick: str) -> None:
        self.command(f"/unmute {nick}")
        if nick in self.here:
            self.here[nick].muted_until = 0.0
        self.muted_accounts.pop(nick, None)

    @rule(nick=st.sampled_from(NICKS))
    def kick(self, nick: str) -> None:
        self.command(f"/kick {nick} why")
        somebody = self.here.pop(nick, None)
        assert somebody is None or somebody.person.transport.finished

    @rule(nick=st.sampled_from(NICKS), time=st.sampled_from(sorted(TIMES)))
    def ban_name(self, nick: str, time: str) -> None:
        replies = self.command(f"/ban {nick} {time}")
        if "Nothing is banned yet" in replies[-1]:
            replies = self.command(f"/ban {nick} {time}")
        assert "banned" in replies[-1]
        until = self.now + TIMES[time]
        self.bans[f"{'account' if nick in self.registered else 'nickname'} {nick}"] = until, nick
        somebody = self.here.pop(nick, None)
        if somebody is not None and (network := person_network(somebody.host)) is not None:
            self.bans[network] = until, nick
            self.expect_gone(network)
        assert somebody is None or somebody.person.transport.finished

    @rule(network=st.sampled_from(NETWORKS), time=st.sampled_from(sorted(TIMES)))
    def ban_network(self, network: str, time: str) -> None:
        reached = [somebody.nick for somebody in self.here.values() if ip_address(somebody.host) in ip_network(network)]
        (question,) = self.command(f"/ban {network} {time}")
        assert all(nick in question for nick in reached)
        assert "Nothing is banned yet" in question
        (done,) = self.command(f"/ban {network} {time}")
        assert "is banned" in done
        self.bans[network] = self.now + TIMES[time], network
        self.expect_gone(network)

    def expect_gone(self, network: str) -> None:
        for nick, somebody in list(self.here.items()):
            if ip_address(somebody.host) in ip_network(network):
                assert self.here.pop(nick).person.transport.finished

    @rule(name=st.sampled_from([*NICKS, *NETWORKS]))
    def unban(self, name: str) -> None:
        self.command(f"/unban {name}")
        ended = {name, f"account {name}"}
        self.bans = {key: ban for key, ban in self.bans.items() if ban[1] != name and key not in ended}

    @rule(seconds=st.sampled_from([0, 5, 20]))
    def slow_down(self, seconds: int) -> None:
        self.command(f"/slow {f'{seconds}s' if seconds else 'off'}")
        self.slow = float(seconds)
        self.slow_lines.clear()

    @rule(seconds=st.sampled_from([1, 5, 10, 60]))
    def wait(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.world.settle()

    # What always holds

    @invariant()
    def exactly_these_people_are_here(self) -> None:
        assert {member.nick for member in self.world.hub.people.members.values()} == {"ann", *self.here}
        assert not any(somebody.person.transport.finished for somebody in self.here.values())
        for somebody in self.here.values():
            member = member_of(self.world, somebody.nick)
            assert (member.account is not None) is somebody.is_logged_in
            try:
                self.world.hub.check_address(somebody.host)
            except RejectedError:
                raise AssertionError from None


TestModerated = Moderated.TestCase
TestModerated.settings = settings(max_examples=40, stateful_step_count=25)
