"""A relay between a server and its clients, which cuts their connections at any byte."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from random import Random

BACKLOG = 4096
"""Maximum number of connections that wait to be accepted: a server that is killed has hundreds of clients. The system
drops those that do not fit, and their next try is seconds later."""


class Relay:
    """A port that connects its clients to the server.

    While ``cuts_connections`` is true, connections end after *mean_bytes* on average.
    """

    def __init__(self, random: Random, mean_bytes: int = 20_000) -> None:
        self.target = 0
        """The port of the server."""
        self.cuts_connections = False
        """Whether each connection ends after a random number of bytes in one of the directions."""
        self.cuts = 0
        """Number of connections that were cut."""
        self.delay = 0.0
        """Seconds for which each piece of up to 4 KiB waits, so that clients that never pause take less CPU time."""
        self._random = random
        self._mean_bytes = mean_bytes
        self._tasks: dict[asyncio.Task[None], int] = {}
        """The connections, and the ports of their servers."""

    async def listen(self, port: int = 0) -> None:
        """Begin on *port*, or on any free one."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", port, backlog=BACKLOG)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def choose_target(self) -> int:
        """Return the port for the next connection."""
        return self.target

    async def close(self) -> None:
        """End all connections."""
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self, target: int) -> None:
        """End all connections to the server at the port *target*."""
        for task, port in self._tasks.items():
            if port == target:
                task.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = target = self.choose_target()
        writers = [writer]
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
            writers.append(server_writer)
            pumps = [
                asyncio.ensure_future(self._pump(*ends)) for ends in ((reader, server_writer), (server_reader, writer))
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.wait(pumps)
        except (OSError, asyncio.CancelledError):
            pass  # there is no server now, or the relay is closed; asyncio reports a cancelled handler as an error
        finally:
            del self._tasks[task]
            for each in writers:
                each.close()  # what was passed on still arrives

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on until the end, or until the connection is cut."""
        budget = int(self._random.expovariate(1 / self._mean_bytes))
        with suppress(OSError):
            while data := await reader.read(4096):
                if self.cuts_connections and len(data) > budget:
                    self.cuts += 1
                    writer.write(data[:budget])
                    if self._random.random() < 0.5:
                        make_reset(writer)
                    return
                budget -= len(data)
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()


def make_reset(writer: asyncio.StreamWriter) -> None:
    """Let the end of this connection be a reset, in place of an orderly one."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
