"""Two machines with a cable between them, as network namespaces. One of them can vanish from the other's sight."""

from __future__ import annotations

import subprocess

from tests.real.programs import PATIENCE, Program, Programs

NEAR = "192.0.2.1"
FAR = "192.0.2.2"
NEW_FAR = "192.0.2.3"
"""Addresses for documentation (RFC 5737). The namespaces have no names, so that several pairs can exist at a time."""
SET_UP = """
set -e
echo 4096 8192 16384 > /proc/sys/net/ipv4/tcp_rmem
echo 4096 8192 16384 > /proc/sys/net/ipv4/tcp_wmem
ip link set lo up
ip address add $0/24 dev cable
ip link set cable up
"""
"""Set up one machine, whose address is $0, with small socket buffers."""
VANISH = f"""
set -e
address=$(ip neigh show {FAR} | sed "s/.*lladdr \\([0-9a-f:]*\\).*/\\1/")
ip neigh replace {FAR} dev cable nud permanent lladdr "$address"
"""
"""Let the near machine remember the far one's hardware address. It would ask for it, and learn that nobody answers."""


def why_not() -> str:
    """Return why this user cannot make namespaces; empty where that is allowed."""
    script = "unshare -n true && ip link add cable type veth peer name other"
    trial = subprocess.run(  # noqa: S603 -- a constant script
        ["unshare", "-rn", "sh", "-c", script],  # noqa: S607 -- wherever they are
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    return "" if trial.returncode == 0 else f"network namespaces are not allowed here: {trial.stderr.strip()}"


class Networks:
    """The near machine, on which the server runs, and the far one."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._near: tuple[str, ...] = ()
        self.on_far: tuple[str, ...] = ()
        """The command that runs another one on the far machine."""

    async def build(self) -> None:
        """Make both machines, and wait until the cable works."""
        self._near, _pid = await self._make_machine("unshare", "-rn")
        self.on_far, far_pid = await self._make_machine(*self._near, "unshare", "-n")
        await self._run(self._near, f"ip link add cable type veth peer name cable netns {far_pid}")
        await self._run(self._near, SET_UP, NEAR)
        await self._run(self.on_far, SET_UP, FAR)
        # The kernel turns the cable on some time after the command. Until then, a connection may be rejected.
        for machine in (self._near, self.on_far):
            await self._run(machine, "until ip link show cable | grep -q 'state UP'; do sleep 0.05; done")

    async def _make_machine(self, *unshare: str) -> tuple[tuple[str, ...], int]:
        """Make a namespace. Return the command that runs others in it, and the process that holds it."""
        holder = self._programs.run(*unshare, "sh", "-c", "echo made; exec sleep 3600")
        await holder.until("made\n")
        pid = holder.process.pid
        assert pid is not None
        return ("nsenter", "-t", str(pid), "-U", "--preserve-credentials", "-n"), pid

    async def _run(self, machine: tuple[str, ...], script: str, *arguments: str) -> None:
        program = self._programs.run(*machine, "sh", "-c", script, *arguments)
        status = await program.end()
        assert status == 0, f"status {status} of {script!r}: {program.text()}"

    def near(self, *command: str) -> Program:
        """Run *command* on the server's machine."""
        return self._programs.run(*self._near, *command)

    def far(self, *command: str) -> Program:
        """Run *command* on the other machine."""
        return self._programs.run(*self.on_far, *command)

    async def vanish(self) -> None:
        """Let the far machine neither hear the near one nor answer from here on."""
        await self._run(self._near, VANISH)
        await self._run(self.on_far, f"ip address del {FAR}/24 dev cable")

    async def change_address(self) -> None:
        """Give the far machine another address. Its connections stay, but nothing goes through them any more."""
        await self._run(self.on_far, f"ip address del {FAR}/24 dev cable && ip address add {NEW_FAR}/24 dev cable")

    async def close_far(self) -> None:
        """Close the connections of the far machine's first address, as some network managers do."""
        await self._run(self.on_far, f"ss -K src {FAR} && ! ss -Htn src {FAR} | grep .")

    async def drop_to_far(self) -> None:
        """Drop everything that the near machine sends to the far one's first address from here on."""
        await self._run(self._near, f"ip route add blackhole {FAR}")

    async def cut(self) -> None:
        """Let the cable lose everything from here on, without a word to either machine."""
        await self._run(self._near, VANISH)
        await self._run(self.on_far, "ip link set cable down")

    async def mend(self) -> None:
        """Let the cable work again after ``cut``."""
        await self._run(self.on_far, "ip link set cable up")

    async def drop_from_far(self, port: str) -> None:
        """Drop everything that the far machine sends from *port* from here on."""
        await self._run(self.on_far, f"ip rule add pref 100 ipproto tcp sport {port} blackhole")
