"""Accounts at the line door against a model: what is said, who has which nickname, and who is asked for a password.

``BROADCAST_LONG=1`` tries many more examples.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from broadcast.core.password_dialogue import MAX_ANSWERS, MAX_WRONG_PASSWORDS
from broadcast.core.passwords import MIN_PASSWORD_BYTES
from broadcast.core.session import MAX_REJECTED_NICKS
from broadcast.core.tries import TryLimiter
from tests.harness import Person, World

NAMES = ["ann", "bob", "eve"]
PASSWORDS = ["first secret", "second secret", "third secret"]
"""They hold a blank, so none is a nickname."""
SHORT = ["", "quit", "short"]
COMMANDS = [
    *("/register", "/passwd", "/drop", "/logout", "/login", "/nick rob"),
    *(f"/login {name}" for name in NAMES),
    *("/register first secret", "  /drop first secret", "/login ann first secret"),
]
PASSWORD_COMMANDS = ("/login", "/register", "/passwd", "/drop")
QUESTIONS = {"login": 1, "register": 2, "passwd": 3, "drop": 1}
"""The number of questions of each dialogue. If there are several, the last one is for a repetition."""


@dataclass(eq=False)
class User:
    """A person, and what the model knows of them."""

    person: Person
    nick: str = ""
    account: str = ""
    dialogue: str = ""
    target: str = ""
    """The nickname of the account that the dialogue is about."""
    answers: list[str] = field(default_factory=list)
    typed: set[str] = field(default_factory=set)
    """The passwords that a repetition would say."""
    ahead: int = 0
    """Number of passwords that may follow a refused command. The clock stands still, so they are typed ahead."""
    wrong: int = 0
    rejected: int = 0
    gone: bool = False

    def close(self) -> None:
        self.gone, self.nick, self.account, self.dialogue = True, "", "", ""

    def ask(self, dialogue: str, target: str) -> None:
        self.dialogue, self.target, self.answers, self.typed, self.ahead = dialogue, target, [], set(), 0


class AccountsMachine(RuleBasedStateMachine):
    """The rules are what a person types, or what happens to a connection."""

    users = Bundle("users")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        (self.observer,) = self.world.join("zoe")
        self.all: list[User] = []
        self.accounts: dict[str, str] = {}
        self.said: list[str] = []

    @rule(target=users)
    def connect(self) -> User:
        user = User(self.world.connect())
        self.all.append(user)
        return user

    @rule(target=users, name=st.sampled_from(NAMES))
    def join(self, name: str) -> object:
        """Let somebody join at once, with the password if the nickname needs one."""
        if name not in self.accounts and self.owner(name):
            return multiple()
        user = User(self.world.connect())
        self.all.append(user)
        self.type(user, name, busy=False)
        if user.dialogue:
            self.type(user, self.accounts[name], busy=False)
        return user

    @rule(user=users, line=st.sampled_from([*NAMES, *PASSWORDS * 2, *SHORT, *COMMANDS, "hi"]), busy=st.booleans())
    def type(self, user: User, line: str, busy: bool) -> None:
        if user.gone:
            return
        self.world.hub.authenticator._tries = TryLimiter()
        self.world.hasher.is_full = busy
        user.person.say(line)
        self.world.hasher.is_full = False
        self.model(user, line, busy=busy)

    @rule(user=users, kind=st.sampled_from(list(QUESTIONS)), password=st.sampled_from(PASSWORDS))
    def finish(self, user: User, kind: str, password: str) -> None:
        """Answer all questions of a dialogue that the user can begin."""
        command = f"/login {NAMES[0]}" if kind == "login" else f"/{kind}"
        self.type(user, command, busy=False)
        if user.dialogue == kind:
            old = [self.accounts.get(user.target, password)] if kind != "register" else []
            for answer in [*old, password, password][: QUESTIONS[kind]]:
                self.type(user, answer, busy=False)

    @rule(user=users, line=st.sampled_from([*PASSWORDS, "ann", "hi"]))
    def vanish(self, user: User, line: str) -> None:
        """Lose the connection before a result: the line before it still counts."""
        if user.gone:
            return
        self.world.hub.authenticator._tries = TryLimiter()
        user.person.put(f"{line}\r\n")
        user.person.vanish()
        self.model(user, line, busy=False)
        user.close()

    @rule(user=users, line=st.sampled_from(PASSWORDS))
    def disconnect(self, user: User, line: str) -> None:
        """End the session of a member before a result. A request that was submitted still counts."""
        member = self.world.hub.people.member_by_session(user.person.protocol.session.id)
        if user.gone or member is None or not user.dialogue:
            return
        self.world.hub.authenticator._tries = TryLimiter()
        user.person.put(f"{line}\r\n")
        member.listener.disconnect("kicked", "You were kicked.")
        self.world.settle()
        if user.dialogue == "login":
            user.close()  # no effect
        else:
            self.model(user, line, busy=False)
            user.close()

    # The model

    def owner(self, nick: str) -> User | None:
        return next((user for user in self.all if user.nick == nick), None)

    def model(self, user: User, line: str, *, busy: bool) -> None:
        if user.dialogue:
            self.answer(user, line, busy=busy)
            return
        is_ahead = user.ahead > 0 and len(line) >= MIN_PASSWORD_BYTES and not line.startswith("/")
        if line != "quit" and (line in user.typed or is_ahead):
            if line not in user.typed:
                user.ahead -= 1
                user.typed.add(line)
            if not user.nick:
                self.reject(user)
            return
        user.typed, user.ahead = set(), 0
        if user.nick:
            self.talk(user, line)
        else:
            self.arrive(user, line)
        if line.strip().startswith(PASSWORD_COMMANDS) and not user.dialogue:
            user.ahead = MAX_ANSWERS

    def reject(self, user: User) -> None:
        user.rejected += 1
        if user.rejected == MAX_REJECTED_NICKS:
            user.close()

    def arrive(self, user: User, line: str) -> None:
        name = line.removeprefix("/login ")
        if line == "quit":
            user.close()
        elif name in NAMES and (name != line or name in self.accounts):
            user.ask("login", name)
        elif line in ("hi", "short", *NAMES) and not self.owner(line):
            user.nick = line
        else:
            self.reject(user)

    def talk(self, user: User, line: str) -> None:
        command = line.split(maxsplit=1)[0] if line else ""
        if line == "quit":
            user.close()
        elif line.startswith("/login ") and line.count(" ") == 1:
            user.ask("login", line.removeprefix("/login "))
        elif line == "/nick rob":
            user.nick = user.nick if self.owner("rob") else "rob"
        elif line == "/register" and not user.account:
            user.ask("register", user.nick)
        elif line in ("/passwd", "/drop") and user.account:
            user.ask(line[1:], user.account)
        elif line == "/logout" and user.account:
            if user.nick == user.account:
                taken = {other.nick for other in self.all} | self.accounts.keys()
                user.nick = next(name for number in range(2, 99) if (name := f"{user.nick}{number}") not in taken)
            user.account = ""
        elif line and not command.startswith("/"):
            self.said.append(f"{user.nick}: {line}")

    def answer(self, user: User, line: str, *, busy: bool) -> None:
        if not line:
            user.dialogue = ""
            return
        count = QUESTIONS[user.dialogue]
        is_repetition = count > 1 and len(user.answers) == count - 1
        if len(line) < MIN_PASSWORD_BYTES or (is_repetition and line != user.answers[-1]):
            if is_repetition:
                user.answers.pop()
            return
        if not line.strip().startswith(PASSWORD_COMMANDS):
            user.typed.add(line)
        user.answers.append(line)
        is_checked = len(user.answers) == (1 if user.dialogue == "passwd" else 0)
        if len(user.answers) < count and not is_checked:
            return
        answers, user.answers = user.answers, []
        if busy:
            return
        if user.dialogue != "register" and self.accounts.get(user.target) != answers[0]:
            user.wrong += 1
            if user.wrong == MAX_WRONG_PASSWORDS:
                user.close()
            return
        if is_checked:
            user.answers, user.wrong = answers, 0
            return
        user.wrong, dialogue, user.dialogue = 0, user.dialogue, ""
        self.succeed(user, dialogue, answers[-1])

    def succeed(self, user: User, dialogue: str, password: str) -> None:
        target = user.target
        match dialogue:
            case "login":
                if (other := self.owner(target)) is not None and other is not user:
                    other.close()
                user.nick = user.account = target
            case "register":
                self.accounts[target] = password
                user.account = target
            case _:
                if dialogue == "passwd":
                    self.accounts[target] = password
                else:
                    del self.accounts[target]
                    user.account = ""
                for other in self.all:
                    if other is not user and other.account == target:
                        other.close()

    # The comparison

    @invariant()
    def everybody_is_as_in_the_model(self) -> None:
        for user in self.all:
            session = user.person.protocol.session
            if user.gone:
                assert user.person.protocol.session.id not in self.world.hub.people.members
                continue
            assert (session.nick, session.is_asking_password) == (user.nick, bool(user.dialogue))
            account = session.member.account if session.nick else None
            assert (account.name if account else "") == user.account
        registered = {account.name: account.record.password_hash for account in self.world.hub.accounts}
        assert registered == self.accounts

    @invariant()
    def others_read_what_is_said_and_nothing_else(self) -> None:
        lines = [line for line in self.observer.lines() if not line.startswith(" * ")]
        assert lines == self.said
        self.said = []


LINE_ENDS_AND_KEYS = b"\n\r\x04\x08\x15\x17\x7f\xff"
ECHO = [bytes((255, verb, 1)) for verb in (251, 252, 253, 254)]
"""The answers of a telnet client."""
LINES = st.lists(
    st.binary(max_size=20).map(lambda line: line.translate(None, LINE_ENDS_AND_KEYS))
    | st.sampled_from([*ECHO, b"quit", b"/say hi", b"//", b"/logout", b"x" * 5000, "caf\u00e9 \u200d\u202e".encode()])
)


@given(
    dialogue=st.sampled_from(["/register", "/drop", "/passwd", "/login ann"]),
    lines=LINES,
    cuts=st.sets(st.integers(0, 200)),
)
def test_no_input_at_a_question_reaches_others(dialogue: str, lines: list[bytes], cuts: set[int]) -> None:
    world = World()
    ann, zoe = world.join("ann", "zoe")
    if dialogue != "/register":
        world.register(ann)
    ann.say(dialogue)
    zoe.read()
    ann.send(b"".join(b"x" + line + b"\r\n" for line in lines), cuts)
    session = ann.protocol.session
    assert (
        session.is_asking_password
        or session.leave_reason == f"{MAX_WRONG_PASSWORDS} wrong passwords"
        or (dialogue == "/register" and session.member.account)
    )
    assert zoe.lines() in ([], [f" * ann left: {session.leave_reason}"])


def test_accounts_behave_like_the_model() -> None:
    long = bool(os.environ.get("BROADCAST_LONG"))
    run_state_machine_as_test(
        AccountsMachine,
        settings=settings(max_examples=2000 if long else 40, stateful_step_count=50, deadline=None),
    )
