"""Operators: kick, mute, ban, slow mode, announcements, and what everybody reads of it."""

from __future__ import annotations

import pytest

from broadcast.core.operator_commands import REACHED_NAMES
from broadcast.core.settings import Settings
from broadcast.core.stats import Rejection
from tests.harness import PASSWORD, Person, World
from tests.operators import address, audit, give_account, join, join_operator, make_account, member_of
from tests.scenarios.conftest import Opens, newcomer

pytestmark = pytest.mark.one_turn
"""An operator's notice and the answer to the operator come from different tables."""

FAR = "203.0.113.7"
DAY = 86_400


@pytest.fixture
def world(open_world: Opens) -> World:
    return open_world()


@pytest.fixture
def ann(world: World) -> Person:
    """An operator on the machine of the server."""
    return join_operator(world, "ann")


@pytest.fixture
def bob(world: World, ann: Person) -> Person:
    """Somebody without an account, from far away."""
    bob = join(world, "bob", FAR)
    ann.read()
    return bob


@pytest.fixture
def carol(world: World, ann: Person, bob: Person) -> Person:
    """Somebody else, from another place."""
    carol = join(world, "carol", "198.51.100.1")
    ann.read()
    bob.read()
    return carol


def connect(world: World, host: str) -> Person:
    """Return a person at *host* without a nickname."""
    return world.connect(address(host))


def is_over(person: Person) -> bool:
    return person.transport.finished


# /kick


def test_kick_ends_the_session_and_says_by_whom_and_why(world: World, ann: Person, bob: Person, carol: Person) -> None:
    ann.say("/kick bob spam, again")
    assert bob.lines() == [" * You were kicked by ann: spam, again", " * Goodbye, bob."]
    assert is_over(bob)
    assert carol.lines() == [" * bob left (kicked by ann: spam, again)"]
    assert ann.lines() == [" * bob left (kicked by ann: spam, again)", "-> bob is kicked."]
    assert audit(world) == [("ann", "kick", "bob", "spam, again")]
    again = join(world, "bob", FAR)  # a kick is no ban
    assert not is_over(again)


def test_kick_without_a_reason(ann: Person, bob: Person) -> None:
    ann.say("/kick BOB ")
    assert bob.lines() == [" * You were kicked by ann", " * Goodbye, bob."]
    assert ann.lines() == [" * bob left (kicked by ann)", "-> bob is kicked."]


def test_nobody_can_look_kicked_by_leaving(bob: Person, carol: Person) -> None:
    bob.say("/quit kicked by ann: spam")
    assert carol.lines() == [" * bob left: kicked by ann: spam"]


def test_nobody_can_look_kicked_or_banned_in_the_log(
    world: World, ann: Person, bob: Person, carol: Person, log: list[str]
) -> None:
    dave = join(world, "dave", FAR)
    bob.say("/nick rob", "/quit kicked by ann: spam")
    dave.say("/quit banned by ann")
    join(world, "dave", FAR)
    ann.say("/kick carol spam", "/ban dave")
    leaves = [line for line in log if " left" in line]
    assert [line.split(" (203.")[0].split(" (198.")[0] for line in leaves] == [
        "rob, who came as bob, left: kicked by ann: spam",
        "dave left: banned by ann",
        "carol left (kicked by ann: spam)",
        "dave left (banned by ann)",
    ]


def test_kick_ends_all_sessions_of_an_account(world: World, ann: Person, bob: Person, carol: Person) -> None:
    account = give_account(world, "bob")
    member_of(world, "carol").account = account  # the same person under another nickname
    ann.say("/kick carol")
    assert is_over(bob)
    assert is_over(carol)
    assert ann.lines()[-1] == "-> bob is kicked."


def test_kick_of_nobody_or_of_oneself_is_refused(world: World, ann: Person) -> None:
    make_account(world, "dave")
    ann.say("/kick zoe", "/kick dave", "/kick ann", "/kick", "/kick  ")
    assert ann.lines() == [
        "-> Error: zoe is not here.",
        "-> Error: dave is not here.",
        "-> Error: you cannot do that to yourself.",
        *["-> Error: usage: /kick NAME [WHY]"] * 2,
    ]
    assert audit(world) == []


def test_an_operator_can_act_on_an_operator(world: World, ann: Person, bob: Person) -> None:
    give_account(world, "bob", "operator")
    ann.say("/kick bob")
    assert is_over(bob)


# /mute


def test_muted_people_say_nothing_that_others_read(world: World, ann: Person, bob: Person, carol: Person) -> None:
    ann.say("/mute bob 1h")
    notice = " * bob was muted by ann until 2026-01-15 13:00 UTC."
    assert bob.lines() == carol.lines() == [notice]
    assert ann.lines() == [notice, "-> bob is muted until 2026-01-15 13:00 UTC."]
    typed = [
        *("hi", "  hi", "//x", "/say hi", "/me waves", "/msg carol psst", "/reply psst"),
        *("/topic spam", "/nick spam", "/away spam", "/join spam", "/kick carol"),
    ]
    bob.say(*typed)
    refused = ["-> Error: you are muted until 2026-01-15 13:00 UTC."] * (len(typed) - 1)
    assert bob.lines() == [*refused, "-> Error: /kick is for operators."]
    assert carol.lines() == ann.lines() == []
    bob.say("/names", "/topic", "/away", "/back", "/ignore carol", "/ping", "/help me")
    assert not any("Error" in line for line in bob.lines())
    assert audit(world) == [("ann", "mute", "bob", "until 2026-01-15 13:00 UTC")]


def test_muted_people_can_leave_but_give_no_reason(ann: Person, bob: Person) -> None:
    ann.say("/mute bob")
    ann.read()
    bob.say("/quit a last word")
    assert ann.lines() == [" * bob left."]


def test_muted_people_can_go_to_a_room_that_is_open(world: World, ann: Person, bob: Person, carol: Person) -> None:
    carol.say("/join kitchen")
    ann.say("/mute bob")
    bob.say("/join kitchen", "hi", "/leave", "hi")
    carol.say("still here")
    assert not any("hi" in line for line in carol.lines() + ann.lines())
    assert member_of(world, "bob").memberships.keys() == {"lobby"}


def test_a_mute_ends_with_its_time(world: World, ann: Person, bob: Person) -> None:
    ann.say("/mute bob 90s")
    world.clock.advance(89)
    bob.say("hi")
    world.clock.advance(1)
    ann.read()
    bob.say("hi again")
    assert ann.lines() == ["bob: hi again"]
    assert not world.hub.moderation.is_active


def test_unmute_ends_a_mute(world: World, ann: Person, bob: Person) -> None:
    ann.say("/mute bob", "/unmute bob", "/unmute bob")
    bob.say("hi")
    assert ann.lines() == [
        *(" * bob was muted by ann.", "-> bob is muted."),
        *(" * bob was unmuted by ann.", "-> bob is not muted any more."),
        "-> Error: bob is not muted.",
        "bob: hi",
    ]
    assert [entry[1] for entry in audit(world)] == ["mute", "unmute"]


def test_a_mute_without_end_says_so(ann: Person, bob: Person) -> None:
    ann.say("/mute bob")
    bob.read()
    bob.say("hi")
    assert bob.lines() == ["-> Error: you are muted until an operator ends it."]


def test_a_mute_follows_the_session_under_another_nickname(world: World, ann: Person, bob: Person) -> None:
    ann.say("/mute bob")
    world.hub.rename(member_of(world, "bob"), "rob")
    world.settle()
    ann.read()
    bob.say("hi")
    assert ann.lines() == []
    ann.say("/unmute rob")
    ann.read()
    bob.say("hi")
    assert ann.lines() == ["rob: hi"]


def test_a_mute_follows_the_account_to_another_session(world: World, ann: Person, bob: Person) -> None:
    account = give_account(world, "bob")
    bob.say("quit")
    ann.say("/mute bob 1h")  # who is not here
    again = join(world, "rob", FAR)
    member_of(world, "rob").account = account
    ann.read()
    again.say("hi")
    assert again.lines() == ["-> Error: you are muted until 2026-01-15 13:00 UTC."]
    assert ann.lines() == []


@pytest.mark.parametrize("typed", [["/login rob", PASSWORD], ["/drop", PASSWORD], ["/logout"]])
def test_a_mute_of_an_account_follows_a_session_that_leaves_it(
    world: World, ann: Person, bob: Person, typed: list[str]
) -> None:
    world.register(bob)
    make_account(world, "rob", password=PASSWORD)
    bob.say("quit")
    ann.say("/mute bob 1h")  # who is not here
    again = connect(world, FAR)
    again.say("bob", PASSWORD, *typed)
    again.read()
    ann.read()
    again.say("hi")
    assert again.lines() == ["-> Error: you are muted until 2026-01-15 13:00 UTC."]
    assert ann.lines() == []


def test_a_mute_of_a_session_is_not_shortened_by_that_of_an_account_it_leaves(
    world: World, ann: Person, bob: Person
) -> None:
    make_account(world, "rob", password=PASSWORD)
    ann.say("/mute rob 1h", "/mute bob")
    bob.say("/login rob", PASSWORD, "/logout")
    bob.read()
    bob.say("hi")
    assert bob.lines() == ["-> Error: you are muted until an operator ends it."]


def test_muting_takes_a_time_or_nothing(ann: Person, bob: Person) -> None:
    for typed in ("/mute", "/mute bob for ever", "/mute bob 1h now"):
        ann.say(typed)
        assert ann.lines() == ["-> Error: usage: /mute NAME [1h]"]
    for time in ("0s", "10min", "١h", "5"):
        ann.say(f"/mute bob {time}")
        assert ann.lines() == [f"-> Error: {time} is no time. Times are 30s, 10m, 2h, 7d or 2w."]
    ann.say("/unmute bob now", "/unmute")
    assert ann.lines() == ["-> Error: usage: /unmute NAME"] * 2
    assert bob.lines() == []


# /ban NAME


def test_ban_of_a_nickname_also_bans_the_address(world: World, ann: Person, bob: Person, carol: Person) -> None:
    ann.say("/ban bob 7d spam")
    assert bob.lines() == [" * You were banned by ann: spam", " * Goodbye, bob."]
    assert carol.lines() == [" * bob left (banned by ann: spam)"]
    end = "2026-01-22 12:00 UTC"
    assert ann.lines() == [
        " * bob left (banned by ann: spam)",
        f"-> the nickname bob and the address {FAR}/32 are banned until {end}.",
    ]
    carol.say("/nick BOB")
    assert carol.lines() == [f"-> Error: the nickname BOB is banned until {end}: spam"]
    refused = world.connect(bob.transport.address)
    assert refused.lines() == [f" * You are banned until {end}: spam"]
    assert is_over(refused)
    assert world.hub.rejections[Rejection.BANNED] == 2
    assert audit(world) == [("ann", "ban", "bob", f"nickname and the address {FAR}/32 until {end}: spam")]
    ann.say("/bans")
    assert ann.lines() == [
        f"-> nickname bob until {end}, by ann: spam",
        f"-> address {FAR}/32 of bob until {end}, by ann: spam",
    ]
    world.clock.advance(7 * DAY)
    assert not is_over(join(world, "bob", FAR))
    ann.say("/bans")
    assert ann.lines() == [" * bob joined.", "-> nobody is banned."]


def test_ban_of_a_registered_name_bans_the_account(world: World, ann: Person, bob: Person, carol: Person) -> None:
    account = give_account(world, "bob")
    carol.say("/nick rob")
    member_of(world, "rob").account = account
    ann.read()
    ann.say("/ban rob spam")
    assert is_over(bob)
    assert is_over(carol)
    assert ann.lines()[-1] == (
        f"-> the account bob and the address {FAR}/32, 198.51.100.1/32 are banned. /unban bob ends it."
    )
    world.hub.moderation.unban(f"{FAR}", None)
    dave = join(world, "dave", "192.0.2.99")
    with pytest.raises(Exception, match="you are banned: spam"):
        world.hub.log_in(member_of(world, "dave"), account)
    assert member_of(world, "dave").account is None
    dave.say("/nick bobby")
    assert dave.lines() == ["-> You are bobby."]


@pytest.mark.parametrize("word", ["7x", "10min", "10MIN", "0d", "12345d", "1h30m", "10"])
@pytest.mark.parametrize("target", ["zoe", "192.0.2.0/24"])
def test_a_mistyped_time_bans_nobody(world: World, ann: Person, target: str, word: str) -> None:
    ann.say(f"/ban {target} {word} spam", f"/ban {target} {word}", "/bans")
    refused = f"-> Error: nobody is banned, because {word} is no time. Times are 30s, 10m, 2h, 7d or 2w. "
    assert ann.lines() == [*[f"{refused}A reason begins with another word."] * 2, "-> nobody is banned."]
    assert audit(world) == []


@pytest.mark.parametrize("why", ["7d 7x", "spam 7x", "7x: spam", "192.0.2.7"])
def test_other_reasons_of_a_ban_may_hold_digits(world: World, ann: Person, why: str) -> None:
    ann.say(f"/ban zoe {why}")
    assert [entry[1:3] for entry in audit(world)] == [("ban", "zoe")]


def test_the_reply_to_a_ban_of_a_network_without_end_says_how_it_ends(ann: Person) -> None:
    ann.say(*["/ban 192.0.2.0/24"] * 2)
    assert ann.lines()[1:] == ["-> the address 192.0.2.0/24 is banned. /unban 192.0.2.0/24 ends it."]


def test_ban_of_a_name_that_is_not_here(world: World, ann: Person) -> None:
    make_account(world, "dave")
    ann.say("/ban dave", "/ban zoe 2w", "/ban not-a-name:", "/ban root")
    assert ann.lines() == [
        "-> the account dave is banned. dave is not here. /unban dave ends it.",
        "-> the nickname zoe is banned until 2026-01-29 12:00 UTC. zoe is not here.",
        "-> Error: not-a-name: is no network. Write it as in 192.0.2.0/24 or 2001:db8::/64.",
        "-> Error: root is reserved.",
    ]
    zoe = newcomer(world)
    zoe.say("zoe")
    assert zoe.read() == "-> Error: the nickname zoe is banned until 2026-01-29 12:00 UTC.\r\nNickname: "


def test_ban_of_oneself_or_of_ones_own_address_is_refused(world: World) -> None:
    ann = join_operator(world, "ann", FAR, tls=True)
    near = join(world, "near", FAR)
    ann.read()
    ann.say("/ban ann", f"/ban {FAR}/32", "/ban 203.0.0.0/16", "/ban 203.0.0.0/15", "/ban near")
    assert ann.lines() == [
        "-> Error: you cannot do that to yourself.",
        f"-> Error: {FAR}/32 holds your own address.",
        "-> Error: 203.0.0.0/16 holds your own address.",
        "-> Error: 203.0.0.0/15 is too wide: the prefix has at least 16 bits.",
        " * near left (banned by ann)",
        "-> the nickname near is banned. Not the address, which is also yours. /unban near ends it.",
    ]
    assert is_over(near)
    assert not is_over(join(world, "next", FAR))


def test_ban_of_a_name_asks_before_it_reaches_others_at_the_address(world: World, ann: Person, bob: Person) -> None:
    dave = join(world, "dave", FAR)
    ann.read()
    ann.say("/ban bob spam")
    question = f"-> bob comes from {FAR}/32, which also reaches 1 person (dave) here. "
    question += "Nothing is banned yet: give the same command again within 30 seconds."
    assert ann.lines() == [question]
    assert not is_over(bob)
    assert not is_over(dave)
    ann.say("/ban bob")  # another command
    assert ann.lines() == [question]
    ann.say("/ban bob")
    assert is_over(bob)
    assert is_over(dave)


# /ban ADDRESS/PREFIX


def test_ban_of_an_address_shows_whom_it_reaches_and_acts_the_second_time(
    world: World, ann: Person, bob: Person, carol: Person
) -> None:
    ann.say("/ban 203.0.113.0/24 1h spam")
    again = "Nothing is banned yet: give the same command again within 30 seconds."
    assert ann.lines() == [f"-> 203.0.113.0/24 reaches 1 person (bob) here. {again}"]
    world.clock.advance(31)
    ann.say("/ban 203.0.113.0/24 1h spam")
    assert ann.lines() == [f"-> 203.0.113.0/24 reaches 1 person (bob) here. {again}"]
    assert not is_over(bob)
    world.clock.advance(30)
    ann.say("/ban 203.0.113.0/24 1h spam")
    assert is_over(bob)
    assert not is_over(carol)
    assert ann.lines() == [
        " * bob left (banned by ann: spam)",
        "-> the address 203.0.113.0/24 is banned until 2026-01-15 13:01 UTC.",
    ]
    assert is_over(world.connect(bob.transport.address))
    ann.say("/unban 203.0.113.0/24", "/unban 203.0.113.0/24")
    assert ann.lines() == [
        "-> 203.0.113.0/24 is not banned any more.",
        "-> Error: 203.0.113.0/24 is not banned. /bans lists the bans.",
    ]
    assert not is_over(world.connect(bob.transport.address))
    assert [entry[1:3] for entry in audit(world)] == [("ban", "203.0.113.0/24"), ("unban", "203.0.113.0/24")]


def test_question_names_some_of_many_people(world: World, ann: Person) -> None:
    for number in range(REACHED_NAMES + 2):
        join(world, f"p{number}", f"203.0.113.{number + 1}")
    ann.read()
    ann.say("/ban 203.0.113.0/24", "/ban 198.51.100.0/24")
    first, second = ann.lines()
    assert first.startswith("-> 203.0.113.0/24 reaches 22 people (p0, p1, ")
    assert "p19 and 2 more) here." in first
    assert second.startswith("-> 198.51.100.0/24 reaches nobody here.")


@pytest.mark.parametrize("banned", ["2001:db8:1:2::/64", "2001:db8:1:2::7", "2001:db8:1::/48"])
def test_ban_of_ipv6_reaches_everybody_behind_the_prefix(world: World, ann: Person, banned: str) -> None:
    people = [join(world, f"p{number}", f"2001:db8:1:2::{number:x}") for number in (1, 0xFFFF)]
    other = join(world, "other", "2001:db8:2::1")
    ann.say(*[f"/ban {banned}"] * 2)
    assert [is_over(person) for person in [*people, other]] == [True, True, False]
    assert is_over(connect(world, "2001:db8:1:2:a:b:c:d"))


def test_ban_of_a_person_behind_ipv6_bans_the_network_of_64_bits(world: World, ann: Person) -> None:
    join(world, "dave", "2001:db8:1:2::1")
    ann.read()
    ann.say("/ban dave")
    assert ann.lines()[-1] == "-> the nickname dave and the address 2001:db8:1:2::/64 are banned. /unban dave ends it."
    assert is_over(connect(world, "2001:db8:1:2::ffff"))


def test_ban_of_somebody_on_this_machine_bans_no_address(world: World, ann: Person) -> None:
    dave = join(world, "dave")
    ann.read()
    ann.say("/ban dave", "/ban 127.0.0.1/32", "/ban 127.0.0.0/16", "/ban ::1/128", "/ban ::/32")
    assert ann.lines() == [
        " * dave left (banned by ann)",
        "-> the nickname dave is banned. Not the address, which is of this machine or a proxy. /unban dave ends it.",
        "-> Error: 127.0.0.1/32 holds addresses of this machine, which cannot be banned.",
        "-> Error: 127.0.0.0/16 holds addresses of this machine, which cannot be banned.",
        "-> Error: ::1/128 holds addresses of this machine, which cannot be banned.",
        "-> Error: ::/32 holds addresses of this machine, which cannot be banned.",
    ]
    assert is_over(dave)
    assert not is_over(world.connect())


def test_ban_takes_an_address_that_is_a_nickname_as_the_nickname(world: World, ann: Person) -> None:
    join(world, "10.0.0.1", FAR)
    ann.read()
    ann.say("/ban 10.0.0.1")
    assert ann.lines()[-1] == f"-> the nickname 10.0.0.1 and the address {FAR}/32 are banned. /unban 10.0.0.1 ends it."
    ann.say("/ban 10.0.0.2")
    assert ann.lines()[0].startswith("-> 10.0.0.2/32 reaches nobody here.")


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "10.0.0/24", "2001:db8::/129", "x/24", "1/2/3"])
def test_ban_of_no_network_is_refused(ann: Person, wrong: str) -> None:
    ann.say(f"/ban {wrong}")
    assert ann.lines() == [f"-> Error: {wrong} is no network. Write it as in 192.0.2.0/24 or 2001:db8::/64."]


def test_unban_of_a_name_also_ends_the_ban_of_the_address(world: World, ann: Person, bob: Person) -> None:
    ann.say("/ban bob")
    assert is_over(world.connect(bob.transport.address))
    ann.say("/unban Bob", "/unban bob now", "/unban")
    assert ann.lines()[2:] == ["-> Bob is not banned any more.", *["-> Error: usage: /unban NAME|ADDRESS/PREFIX"] * 2]
    assert not is_over(join(world, "bob", FAR))


def test_a_later_ban_replaces_the_earlier_one(ann: Person) -> None:
    ann.say("/ban zoe 1h a", "/ban zoe b", "/bans", "/bans x", "/ban", "/ban ")
    assert ann.lines()[2:] == [
        "-> nickname zoe, by ann: b",
        "-> Error: usage: /bans",
        *["-> Error: usage: /ban NAME|ADDRESS/PREFIX [7d] [WHY]"] * 2,
    ]


def test_people_who_wait_at_the_prompt_are_refused_after_a_ban(world: World, ann: Person) -> None:
    waiting = connect(world, FAR)
    waiting.read()
    ann.say(*[f"/ban {FAR}/32"] * 2)
    waiting.say("dave")
    assert waiting.read() == "-> Error: you are banned.\r\nNickname: "


def test_banned_connections_are_logged_like_other_rejections(world: World, ann: Person, log: list[str]) -> None:
    ann.say(*[f"/ban {FAR}/32 spam"] * 2)
    connect(world, FAR)
    assert f"Connections refused: 1, the last one: {FAR} is banned" in log


# /op and /deop


def test_op_and_deop_change_the_role_of_the_account(world: World, ann: Person, bob: Person) -> None:
    ann.say("/op bob", "/deop bob")
    assert ann.lines() == ["-> Error: bob is not registered."] * 2
    dave = join(world, "dave")
    account = give_account(world, "dave")
    ann.read()
    dave.say("/bans")
    ann.say("/op dave", "/op dave", "/op", "/op dave now")
    assert ann.lines() == [
        " * dave is an operator now.",
        "-> dave is an operator now.",
        "-> Error: dave is an operator already.",
        *["-> Error: usage: /op NAME"] * 2,
    ]
    dave.say("/bans")
    assert sorted(dave.lines()) == [
        " * You are an operator now. /help lists your commands.",
        " * dave is an operator now.",
        "-> Error: /bans is for operators.",
        "-> nobody is banned.",
    ]
    ann.say("/deop dave", "/deop dave")
    assert ann.lines() == [
        " * dave is no operator any more.",
        "-> dave is no operator any more.",
        "-> Error: dave is no operator.",
    ]
    assert sorted(dave.lines()) == [" * You are no operator any more.", " * dave is no operator any more."]
    assert not account.is_operator
    assert bob.lines() == [" * dave joined.", " * dave is an operator now.", " * dave is no operator any more."]
    assert [entry[:3] for entry in audit(world)] == [("ann", "op", "dave"), ("ann", "deop", "dave")]


# /announce, /slow, /topic, /audit


def test_announce_reaches_all_rooms(world: World, ann: Person, bob: Person, carol: Person) -> None:
    carol.say("/join kitchen")
    carol.read()
    bob.read()
    ann.say("/announce tea  is ready", "/announce", "/announce ")
    assert bob.lines() == carol.lines() == [" * ann announces: tea  is ready"]
    assert ann.lines()[1:] == [
        " * ann announces: tea  is ready",
        "-> announced in all rooms.",
        *["-> Error: usage: /announce TEXT"] * 2,
    ]
    assert audit(world) == [("ann", "announce", "", "tea  is ready")]


def test_slow_mode_lets_each_person_say_a_line_per_interval(
    world: World, ann: Person, bob: Person, carol: Person
) -> None:
    ann.say("/slow 5s")
    notice = " * Slow mode is on: each person can say one line in 5 s."
    assert bob.lines() == carol.lines() == [notice]
    assert ann.lines() == [notice, "-> slow mode is on: each person can say one line in 5 s."]
    bob.say("one", "two", "/me acts", "/say four", "/msg carol psst", "//five")
    refused = "-> Error: this room is in slow mode: this was not said. Say it again in 5 seconds."
    assert bob.lines() == [*[refused] * 3, "-> sent to carol.", refused]
    carol.say("own line")
    world.clock.advance(4)
    bob.say("two")
    world.clock.advance(1)
    bob.say("/me acts")
    ann.say("a", "b")  # operators are exempt
    assert bob.lines() == [
        "carol: own line",
        "-> Error: this room is in slow mode: this was not said. Say it again in 1 second.",
        *("ann: a", "ann: b"),
    ]
    assert carol.lines() == ["bob: one", "[bob] psst", "** bob acts", "ann: a", "ann: b"]
    ann.say("/slow", "/slow off", "/slow")
    assert ann.lines()[-4:] == [
        "-> slow mode is on: one line in 5 s.",
        " * Slow mode is off.",
        "-> slow mode is off.",
        "-> slow mode is off.",
    ]
    assert not world.hub.moderation.is_active


def test_slow_mode_is_that_of_one_room(world: World, ann: Person, bob: Person) -> None:
    ann.say("/slow 1m", "/slow 2h", "/slow 5", "/slow never")
    assert ann.lines()[2:] == [
        "-> Error: slow mode has at most 3600 seconds between two lines.",
        "-> Error: 5 is no time. Times are 30s, 10m, 2h, 7d or 2w.",
        "-> Error: usage: /slow [5s|off]",
    ]
    bob.say("one")
    bob.say("/join kitchen", "two", "three", "/leave", "four")
    assert bob.lines()[-1] == "-> Error: this room is in slow mode: this was not said. Say it again in 60 seconds."
    assert [line for line in ann.lines() if line.startswith("bob:")] == ["bob: one"]


def test_slow_mode_survives_a_jump_of_the_clock(world: World, ann: Person, bob: Person) -> None:
    ann.say("/slow 5s")
    bob.say("one")
    world.leap = -3600
    ann.read()
    bob.say("two")
    assert ann.lines() == ["bob: two"]


def test_slow_mode_remembers_only_people_who_have_to_wait(world: World, ann: Person) -> None:
    people = [join(world, f"p{number}") for number in range(9)]
    ann.say("/slow 5s")
    for person in people:
        person.say("hi")
    world.clock.advance(5)
    for person in people:
        person.say("hi")
    (slow,) = world.hub.moderation._slow.values()
    assert len(slow.last) == len(people)
    world.clock.advance(5)
    people[0].say("hi")
    people[1].say("hi")
    assert len(slow.last) <= len(people) - 2


def test_topics_may_be_for_operators_only(open_world: Opens) -> None:
    world = open_world(Settings(topics="operators"))
    ann, bob = join_operator(world, "ann"), join(world, "bob")
    bob.say("/topic mine", "/topic")
    ann.say("/topic soup")
    assert bob.lines() == [
        "-> Error: /topic with a text is for operators.",
        "-> there is no topic. /topic TEXT sets one.",
        " * ann set the topic: soup",
    ]
    assert audit(world) == [("ann", "topic", "lobby", "soup")]


def test_audit_shows_the_last_actions(ann: Person) -> None:
    ann.say("/audit", "/ban zoe spam", "/unban zoe", "/audit", "/audit 1", "/audit 0", "/audit x")
    assert ann.lines() == [
        "-> no operator has done anything yet.",
        "-> the nickname zoe is banned. zoe is not here. /unban zoe ends it.",
        "-> zoe is not banned any more.",
        "-> 2026-01-15 12:00 UTC ann: ban zoe: nickname: spam",
        "-> 2026-01-15 12:00 UTC ann: unban zoe",
        "-> 2026-01-15 12:00 UTC ann: unban zoe",
        *["-> Error: usage: /audit [N]"] * 2,
    ]


# Permission


def test_help_shows_the_commands_of_operators_to_operators_only(ann: Person, bob: Person) -> None:
    bob.say("/help")
    assert not any(line.startswith("-> /kick") for line in bob.lines())
    bob.say("/help kick")
    assert bob.lines() == ["-> Error: /kick is for operators."]
    ann.say("/help")
    assert any(line.startswith("-> /kick NAME [WHY]   ") for line in ann.lines())
    ann.say("/help kick")
    assert ann.lines() == ["-> /kick NAME [WHY]   ends the session of NAME"]


def test_operators_are_refused_on_connections_that_others_can_read(world: World, bob: Person) -> None:
    plain = join_operator(world, "dave", "192.0.2.1")
    safe = join_operator(world, "erin", "192.0.2.2", tls=True)
    plain.read()
    plain.say("/bans")
    assert plain.lines() == [
        "-> Error: /bans works only over TLS, or on the machine of the server: connect with --tls."
    ]
    safe.say("/bans")
    assert safe.lines() == ["-> nobody is banned."]
    assert bob is not None


def test_operator_whose_account_is_removed_is_none(world: World, ann: Person) -> None:
    account = member_of(world, "ann").account
    assert account is not None
    world.hub.accounts.remove(account)
    world.settle()
    ann.say("/bans")
    assert ann.lines() == ["-> Error: /bans is for operators."]
