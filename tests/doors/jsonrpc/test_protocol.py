"""Programs at the line port: the first byte, hello, and lines that everybody receives."""

from __future__ import annotations

from broadcast.core.limits import Limits
from tests.doors.jsonrpc.programs import DirectProgramWorld, Program, ProgramWorld
from tests.harness import NOON, SocketTransport, World

GREETING = b"Welcome to Broadcast. Type a nickname and press Enter.\r\nNickname: \r\n"


def test_first_line_that_begins_with_a_brace_is_a_request(world: ProgramWorld) -> None:
    bot = world.open_program()
    welcome = bot.hello("bot")
    assert bot._greeting_end == GREETING
    assert welcome == {
        "server": "Broadcast",
        "version": "0.0",
        "features": ["accounts"],
        "motd": None,
        "now": NOON,
        "resumed": False,
        "journal": world.journal.id,
        "nick": "bot",
        "session": "2",
        "account": None,
        "passwords": "safe",
        "token": "token-1",
        "grace": 60,
        "limits": {
            "line_bytes": 4096,
            "message_bytes": 256 * 1024,
            "request_bytes": 16 * 1024,
            "lines_at_once": 40,
            "lines_per_second": None,
            "file_bytes": 0,
        },
        "rooms": {
            "lobby": {
                "room": "lobby",
                "last": 0,
                "topic": None,
                "count": 1,
                "members": [{"nick": "bot", "session": "2", "away": None, "idle": 0}],
                "events": [],
                "more": False,
            }
        },
    }
    assert bot.events() == []


def test_line_reaches_people_and_programs_and_its_author(world: ProgramWorld) -> None:
    ann, bot = world.programs("ann", "bot")
    (carol,) = world.join("carol")
    assert [event["method"] for event in bot.events()] == ["joined"]
    ann.read()
    assert ann.call("say", room="lobby", text="hi", uid="u-1") == {"seq": 1, "at": NOON}
    said = {
        "method": "said",
        "room": "lobby",
        "seq": 1,
        "at": NOON,
        "nick": "ann",
        "session": ann.welcome["session"],
        "text": "hi",
        "uid": "u-1",
    }
    assert ann.events() == [said]
    assert bot.events() == [said]
    assert carol.lines() == ["ann: hi"]
    carol.say("hello")
    assert ann.texts() == bot.texts() == ["hello"]


def test_program_joins_and_leaves_rooms(world: ProgramWorld) -> None:
    ann, bot = world.programs("ann", "bot")
    ann.read()
    joined = ann.call("join", room="Kitchen")
    assert (joined["room"], joined["count"]) == ("kitchen", 1)
    assert bot.fail("say", room="kitchen", text="x") == (1005, "not-in-room")
    bot.call("join", room="kitchen")
    bot.call("say", room="kitchen", text="hi")
    assert [(event["method"], event["room"]) for event in ann.events()] == [("joined", "kitchen"), ("said", "kitchen")]
    assert ann.call("leave", room="kitchen", reason="bye") == {}
    assert bot.events()[-1] == {
        "method": "left",
        "room": "kitchen",
        "nick": "ann",
        "session": ann.welcome["session"],
        "reason": "bye",
    }
    bot.call("say", room="kitchen", text="hi")
    assert ann.events() == []


def quit_and_hang_up(program: Program, **params: object) -> None:
    assert program.call("quit", **params) == {}
    program.hang_up()


def test_quit_is_answered_after_everybody_was_notified(world: ProgramWorld) -> None:
    ann, bot = world.programs("ann", "bot")
    ann.read()
    quit_and_hang_up(bot, reason="done")
    assert [(event["method"], event["reason"]) for event in ann.events()] == [("left", "done")]
    assert len(world.connections) == 1
    world.program("bot")


def test_client_that_does_not_read_the_greeting_is_disconnected() -> None:
    """Bytes that wait in the transport would come after the first response."""
    world = DirectProgramWorld()
    transport = SocketTransport()
    transport.room = 10
    world.transport = lambda _address: transport  # type: ignore[assignment, method-assign]
    bot = world.open_program()
    bot.person.put("{")
    assert transport.aborted
    bot.vanish()
    assert len(world.connections) == 0


def early_program(world: ProgramWorld) -> Program:
    """Return a program whose first byte has come before the server has accepted the connection."""
    world.factory.peek_byte = lambda _transport: b"{"
    return world.open_program()


def test_program_that_speaks_first_receives_the_greeting_with_the_first_response(world: ProgramWorld) -> None:
    early = early_program(world)
    assert not early.transport.sent
    early.person.put("{")
    assert not early.transport.sent
    early.person.put('"jsonrpc":"2.0","id":1,"method":"ping"}\n')
    world.settle()
    assert early.transport.sent.startswith(GREETING + b'{"jsonrpc":"2.0","id":1,"error":')
    early.transport.sent.clear()
    early.put_lines('{"jsonrpc":"2.0","id":2,"method":"ping"}')
    world.settle()
    assert early.transport.sent.startswith(b'{"jsonrpc":"2.0","id":2,"error":')


def test_program_that_speaks_first_receives_the_greeting_at_the_latest_at_the_end(world: ProgramWorld) -> None:
    early, silent = early_program(world), early_program(world)
    early.person.put("{}")
    early.person.end_input()
    world.settle()
    assert early.transport.sent.startswith(GREETING)
    assert early.is_closed()
    world.clock.advance(60)
    assert silent.transport.sent.startswith(GREETING + b'{"jsonrpc":"2.0","method":"goodbye"')
    for program in (early, silent):
        program.hang_up()
    assert len(world.connections) == 0


def test_program_that_speaks_first_is_rejected_like_others() -> None:
    world = ProgramWorld(limits=Limits(connections=1))
    world.connect()
    early = early_program(world)
    assert bytes(early.transport.sent).startswith(b" * ")
    early.person.put("{")
    early.vanish()
    assert len(world.connections) == 1


def test_line_port_without_programs_takes_json_for_a_nickname() -> None:
    world = World()
    person = world.connect()
    person.say('{"jsonrpc":"2.0"}')
    assert "-> Error: a nickname holds only ASCII letters" in person.read()
