"""The server is killed or stopped while private messages wait: none is lost, and none comes after an answer."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_twisted import ensureDeferred

from tests.harness import PASSWORD
from tests.real.programs import Programs, Server, Talker


async def register(programs: Programs, server: Server, nick: str) -> Talker:
    """Return a person who has registered *nick*."""
    person = await programs.talker(server.port, nick)
    for line, answer in (("/register", "Password: "), (PASSWORD, "Once more: "), (PASSWORD, "you are logged in.")):
        person.say(line)
        await person.until(answer)
    return person


async def log_in(programs: Programs, server: Server, nick: str) -> Talker:
    """Return a person who has logged in as *nick*."""
    person = await programs.talker(server.port)
    person.say(f"/login {nick}", PASSWORD)
    await person.until(f"You are {nick}.")
    return person


async def hello(programs: Programs, server: Server, nick: str) -> Talker:
    """Return a program that has logged in as *nick*."""
    program = await programs.talker(server.port)
    params = {"protocol": 1, "nick": nick, "password": PASSWORD}
    program.say(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": params}))
    await program.until('"resumed":false')
    return program


@ensureDeferred
async def test_waiting_message_comes_until_it_is_answered_over_kills_and_restarts(
    programs: Programs, tmp_path: Path
) -> None:
    data = str(tmp_path / "data")
    server = await programs.server("--data", data)
    ann = await register(programs, server, "ann")
    bob = await register(programs, server, "bob")
    bob.say("/msg ann you are here")
    await ann.until("[bob] you are here")
    ann.say("/back", "quit")
    await ann.lost
    bob.say("/msg ann psst")
    await bob.until("-> kept for ann, who is not here.")
    for signal in ("KILL", "KILL", "TERM"):
        await server.program.stop(signal)
        server = await programs.server("--data", data)
        ann = await log_in(programs, server, "ann")
        assert ann.seen.count(b"] [bob] ") == ann.seen.count(b"] [bob] psst\r\n") == 1
    ann.say("thanks", "/receipts on", "I am back")
    await ann.until("-> #2")
    await server.program.stop("KILL")
    server = await programs.server("--data", data)
    ann = await log_in(programs, server, "ann")
    assert b"psst" not in ann.seen
    ann.say("/inbox")
    await ann.until("[bob] psst\r\n")
    assert b"] [bob] you are here\r\n-> [" in ann.seen
    ann.say("/search @bob here", "/history @bob 1", "/ping")
    await ann.until("-> pong")
    assert (ann.seen.count(b"[bob] you are here"), ann.seen.count(b"[bob] psst")) == (2, 2)
    assert b"psst" not in server.program.output


@ensureDeferred
async def test_program_receives_waiting_messages_until_it_sends_a_request(programs: Programs, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    server = await programs.server("--data", data)
    ann = await register(programs, server, "ann")
    ann.say("quit")
    await ann.lost
    bob = await programs.talker(server.port, "bob")
    bob.say("/msg ann psst")
    await bob.until("-> kept for ann, who is not here.")
    await server.program.stop("KILL")
    server = await programs.server("--data", data)
    bot = await hello(programs, server, "ann")
    await bot.until('"text":"psst"')
    await server.program.stop("KILL")
    server = await programs.server("--data", data)
    bot = await hello(programs, server, "ann")
    await bot.until('"text":"psst"')
    bot.say('{"jsonrpc":"2.0","id":2,"method":"say","params":{"room":"lobby","text":"thanks"}}')
    await bot.until('"id":2,"result"')
    await server.program.stop("KILL")
    server = await programs.server("--data", data)
    bot = await hello(programs, server, "ann")
    bot.say('{"jsonrpc":"2.0","id":2,"method":"inbox"}')
    await bot.until('"id":2,"result":{"events":[{"method":"told"')
    assert bot.seen.count(b"psst") == 1
