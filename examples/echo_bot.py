"""A bot that repeats a line after ``!echo``, in its rooms and in private messages.

python examples/echo_bot.py HOST ROOM ...
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from broadcast.client.aio import ChatError, Rejected, Said, Told, Unconfirmed, connect


async def run(host: str, port: int, nick: str, rooms: list[str]) -> None:
    """Join the rooms and answer until the program is stopped."""
    async with connect(host, port, nick=nick, rooms=rooms) as chat:
        async for event in chat:
            try:
                match event:
                    case Said(room=room, text=text) if text.startswith("!echo ") and not chat.is_own(event):
                        await chat.say(text.removeprefix("!echo "), room)
                    case Told(nick=sender, text=text):
                        await chat.tell(sender, text)
            except (Rejected, Unconfirmed) as error:
                print(error)


def main() -> None:
    """Parse the arguments and run the bot."""
    parser = argparse.ArgumentParser(description="repeats a line after !echo")
    parser.add_argument("host", help='a name, an address, or "unix:" and a path')
    parser.add_argument("rooms", nargs="*", default=["lobby"])
    parser.add_argument("--port", type=int, default=5555)
    parser.add_argument("--nick", default="echo")
    given = parser.parse_args()
    # A service manager stops a program with SIGTERM. As with Ctrl-C, the bot then leaves its rooms.
    # A shell starts background programs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        asyncio.run(run(given.host, given.port, given.nick, given.rooms))
    except KeyboardInterrupt:
        print("stopped")
    except ChatError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
