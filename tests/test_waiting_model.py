"""Random people with accounts write to each other on both doors, come, leave and lose connections.

A model says what waits for whom. Each message is shown until input or an orderly end follows it, and never after that.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest

from broadcast.core.private_lines import MAX_WAITING_FROM_ONE
from tests.doors.jsonrpc.programs import Program, ProgramWorld
from tests.harness import PASSWORD, Person

SEEDS = 300 if os.environ.get("BROADCAST_LONG") else 10
STEPS = 120
NICKS = ("ann", "bob", "carol")


class Owner:
    """The owner of one account, and the messages that wait for it in the model: their texts and senders."""

    def __init__(self, world: ProgramWorld, nick: str) -> None:
        self.world = world
        self.nick = nick
        self.client: Person | Program | None = None
        self.waiting: list[tuple[str, str]] = []
        self._lines: list[str] = []
        """The lines that were read and not looked at."""

    def login(self, *, as_program: bool) -> None:
        """Come, and check what has waited."""
        if as_program:
            program = self.client = self.world.open_program()
            program.hello(self.nick, password=PASSWORD, replay=0)
        else:
            person = self.client = self.world.connect()
            person.say(f"/login {self.nick}")
            person.read()
            person.say(PASSWORD)
        assert self.shown() == [text for text, _ in self.waiting]

    def shown(self) -> list[str]:
        """Return the texts of the private messages since the last call."""
        if isinstance(self.client, Program):
            return [event["text"] for event in self.client.events() if event["method"] == "told"]
        assert isinstance(self.client, Person)
        lines, self._lines = [*self._lines, *self.client.read().split("\r\n")], []
        return [line.rpartition("] ")[2] for line in lines if "] " in line and not line.startswith((" ", "->"))]

    def tell(self, to: str, text: str) -> str:
        """Send a message, and return ``sent``, ``kept`` or ``refused``."""
        self.waiting.clear()
        if isinstance(self.client, Program):
            response = self.client.request("tell", to=to, text=text)
            if "error" in response:
                assert response["error"]["data"]["reason"] == "does-not-read"
                return "refused"
            return "kept" if response["result"].get("kept") else "sent"
        assert isinstance(self.client, Person)
        self.client.read()
        self.client.say(f"/msg {to} {text}")
        self._lines = self.client.lines()
        (reply,) = (line for line in self._lines if line.startswith("->"))
        return "refused" if "Error" in reply else reply.split()[1]

    def answer(self) -> None:
        """Do something that confirms what was read."""
        if isinstance(self.client, Program):
            self.client.call("ping")
        elif self.client is not None:
            self.client.say("/back")
        assert self.shown() == []
        self.waiting.clear()

    def leave(self, how: str) -> None:
        """Leave in order, or lose the connection."""
        client, self.client = self.client, None
        assert client is not None
        person = client.person if isinstance(client, Program) else client
        if how == "quit":
            if isinstance(client, Program):
                client.call("quit")
            else:
                person.say("quit")
            person.hang_up()
        elif how == "end":
            person.end_input()
        else:
            person.vanish()
        if how != "lose":
            self.waiting.clear()
        self.world.clock.advance(61)  # the grace of a program
        self.world.settle()


def write(owner: Owner, to: Owner, text: str) -> None:
    """Let *owner* write *text*, and check who reads it."""
    from_owner = Counter(sender for _, sender in to.waiting)[owner.nick]
    is_full = to.client is None and from_owner >= MAX_WAITING_FROM_ONE
    result = owner.tell(to.nick, text)
    assert result == ("refused" if is_full else "kept" if to.client is None else "sent")
    if not is_full:
        to.waiting.append((text, owner.nick))
    if to.client is not None:
        assert to.shown() == [text]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_message_is_shown_until_it_is_answered(seed: int) -> None:
    random = Random(seed)  # noqa: S311 -- no secret
    world = ProgramWorld()
    owners = {nick: Owner(world, nick) for nick in NICKS}
    for person in (people := world.join(*NICKS)):
        world.register(person)
    for person in people:
        person.say("quit")
        person.hang_up()
    for number in range(STEPS):
        owner = random.choice([*owners.values()])
        if owner.client is None:
            owner.login(as_program=random.random() < 0.5)
        elif random.random() < 0.2:
            owner.leave(random.choice(["quit", "end", "lose", "lose"]))
        elif random.random() < 0.2:
            owner.answer()
        else:
            write(owner, owners[random.choice(NICKS)], f"text-{number}")
    for owner in owners.values():
        if owner.client is None:
            owner.login(as_program=False)
