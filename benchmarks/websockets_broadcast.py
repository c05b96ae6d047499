"""A peer: ``broadcast`` of the package ``websockets``, which sends each message to all connections."""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main(port: int, seconds: float) -> None:
    """Serve on *port* of 127.0.0.1 for *seconds*."""
    connected: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        connected.add(connection)
        try:
            async for message in connection:
                broadcast(connected, message)
        finally:
            connected.discard(connection)

    async with serve(handle, "127.0.0.1", port, compression=None, ping_interval=None):
        await asyncio.sleep(seconds)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
