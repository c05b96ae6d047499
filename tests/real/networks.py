"""Two machines with a cable between them, in network namespaces; one of them can vanish from the other's sight."""

from __future__ import annotations

import subprocess

from tests.real.programs import PATIENCE, Program, Programs

NEAR = "192.0.2.1"
FAR = "192.0.2.2"
"""Addresses for documentation (RFC 5737): in these namespaces, nobody else has them."""
_SMALL = "4096 8192 16384"


def why_not() -> str:
    """Why there can be no namespaces here, where the programs are that make them; empty where there can."""
    tried = subprocess.run(
        ["unshare", "-rn", "sh", "-c", "unshare -n true && ip link add cable type veth peer name other"],  # noqa: S607 -- wherever they are
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return "" if tried.returncode == 0 else f"network namespaces are not allowed here: {tried.stderr.strip()}"


class Networks:
    """The near machine, where the server runs, and the far one. Both hold little of what is not read."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._near: tuple[str, ...] = ()
        self._far: tuple[str, ...] = ()

    async def build(self) -> None:
        """Make them."""
        self._near = await self._machine("unshare", "-rn")
        self._far = await self._machine(*self._near, "unshare", "-n")
        far = self._far[self._far.index("-t") + 1]
        await self._do(self._near, f"ip link add cable type veth peer name cable netns {far}")
        for machine, address in ((self._near, NEAR), (self._far, FAR)):
            await self._do(machine, f"echo {_SMALL} > /proc/sys/net/ipv4/tcp_rmem")
            await self._do(machine, f"echo {_SMALL} > /proc/sys/net/ipv4/tcp_wmem")
            await self._do(machine, "ip link set lo up")
            await self._do(machine, f"ip address add {address}/24 dev cable")
            await self._do(machine, "ip link set cable up")

    async def _machine(self, *unshare: str) -> tuple[str, ...]:
        """Make a namespace; what stands in front of a command to run it there."""
        holder = self._programs.run(*unshare, "sh", "-c", "echo made; exec sleep 3600")
        await holder.until("made\n")
        return ("nsenter", "-t", str(holder.process.pid), "-U", "--preserve-credentials", "-n")

    async def _do(self, machine: tuple[str, ...], command: str) -> None:
        program = self._programs.run(*machine, "sh", "-c", command)
        assert await program.end() == 0, program.text()

    def near(self, *command: str) -> Program:
        """Run *command* where the server is."""
        return self._programs.run(*self._near, *command)

    def far(self, *command: str) -> Program:
        """Run *command* on the other machine."""
        return self._programs.run(*self._far, *command)

    async def vanish(self) -> None:
        """The far machine neither hears the near one nor answers from here on, and nobody is told."""
        # Else the near machine would ask for its address again, and know that there is nobody.
        await self._do(
            self._near,
            f"ip neigh replace {FAR} dev cable nud permanent "
            f'lladdr "$(ip neigh show {FAR} | sed "s/.*lladdr \\([0-9a-f:]*\\).*/\\1/")"',
        )
        await self._do(self._far, f"ip address del {FAR}/24 dev cable")
