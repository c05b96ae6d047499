"""A bridge between two rooms: the lines of each are said in the other one.

python examples/bridge.py HOST ROOM OTHER_ROOM --state bridge.json

The uid of a repeated line is made from the line that it repeats. So each line is repeated once, even if the bridge is
killed at any moment and started again with the same file.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import signal
from pathlib import Path

import msgspec

from broadcast.client.aio import Chat, ChatError, Emoted, Line, NotStored, Rejected, Resume, Said, Shared, connect

UID_PREFIX = "bridge-"


async def run(host: str, port: int, nick: str, rooms: tuple[str, str], state: Path | None) -> None:
    """Repeat lines until the program is stopped."""
    resume = None
    if state is not None and state.exists():
        resume = msgspec.json.decode(state.read_bytes(), type=Resume)
    other = {rooms[0]: rooms[1], rooms[1]: rooms[0]}
    async with connect(host, port, nick=nick, rooms=rooms, resume=resume) as chat:
        print(f"The bridge between {rooms[0]} and {rooms[1]} is open.", flush=True)
        async for event in chat:
            match event:
                # The prefix also tells the lines of this bridge, and of any other one, from those of people.
                case Said(room=source, uid=uid) | Emoted(room=source, uid=uid) | Shared(room=source, uid=uid):
                    if source in other and not (uid or "").startswith(UID_PREFIX):
                        await repeat(chat, event, other[source])
            if state is not None:
                save(state, chat.resume)


async def repeat(chat: Chat, line: Line, room: str) -> None:
    """Say *line* in *room*, once."""
    source = f"{chat.welcome.journal} {line.room} {line.seq}"
    uid = UID_PREFIX + hashlib.sha256(source.encode()).hexdigest()[:32]
    text = f"<{line.nick}> {line.text}" if isinstance(line, Said) else f"* {line.nick} {line.text}"
    shortened = text.encode()[: chat.welcome.limits.line_bytes].decode(errors="ignore")
    while True:
        try:
            await chat.say(shortened, room, uid=uid)
        except NotStored:
            await asyncio.sleep(1)
        except Rejected as error:
            print(f"{line.room} {line.seq}: {error}", flush=True)
            return
        else:
            return


def save(path: Path, resume: Resume | None) -> None:
    """Replace the file at once, so that a killed program leaves the old or the new one."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)  # the state holds the secret of the session
    new.write_bytes(msgspec.json.encode(resume))
    new.replace(path)


def main() -> None:
    """Parse the arguments and run the bridge."""
    parser = argparse.ArgumentParser(description="repeats the lines of two rooms in the other one")
    parser.add_argument("host", help='a name, an address, or "unix:" and a path')
    parser.add_argument("room", type=str.lower)
    parser.add_argument("other_room", type=str.lower)
    parser.add_argument("--port", type=int, default=5555)
    parser.add_argument("--nick", default="bridge")
    parser.add_argument("--state", type=Path, help="a file from which the next start continues")
    given = parser.parse_args()
    if given.room == given.other_room:
        parser.error("name two rooms")
    # A service manager stops a program with SIGTERM. As with Ctrl-C, the bridge then leaves its rooms.
    # A shell starts background programs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        asyncio.run(run(given.host, given.port, given.nick, (given.room, given.other_room), given.state))
    except KeyboardInterrupt:
        print("stopped")
    except (ChatError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
