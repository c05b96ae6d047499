"""Link-local IPv6 addresses keep their zone: where the server listens, in the log, and in the client's HOST."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from tests.real.networks import Networks
from tests.real.programs import TWISTD

CLIENT = Path(sys.executable).with_name("broadcast-client")


@pytest.mark.parametrize("port", [("5555", "--interface", "fe80::7%cable"), (r"tcp6:5555:interface=fe80\:\:7%cable",)])
@ensureDeferred
async def test_zone_is_kept_by_server_and_client(networks: Networks, port: tuple[str, ...]) -> None:
    for machine, address in ((networks.near, "fe80::7/64"), (networks.far, "fe80::8/64")):
        added = machine("ip", "address", "add", address, "dev", "cable", "nodad")
        assert await added.end() == 0, added.text()
    server = networks.near(TWISTD, "-n", "--pidfile=", "broadcast", "--ephemeral", "--port", *port)
    await server.until("Listening on fe80::7%cable port 5555")
    for nick, zone in (("ann", "cable"), ("bob", await number_of_cable(networks))):
        client = networks.far(str(CLIENT), f"[fe80::7%{zone}]:5555", "--nick", nick, "--send", "hello")
        assert await client.end() == 0, client.text()
        await server.until(f"{nick} joined from fe80::8%cable port ")
    unknown = networks.far(str(CLIENT), "[fe80::7%nosuch]:5555", "--nick", "ann", "--send", "hello")
    assert await unknown.end() == 2
    assert unknown.text() == "broadcast-client: no connection to [fe80::7%nosuch]:5555: there is no such host\n"


async def number_of_cable(networks: Networks) -> str:
    """Return the number of the far machine's network interface."""
    shown = networks.far("ip", "-o", "link", "show", "cable")
    assert await shown.end() == 0
    return shown.text().partition(":")[0]
