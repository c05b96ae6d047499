"""Fixtures of the tests of the JSON-RPC door."""

from __future__ import annotations

import os

import pytest

from tests.doors.jsonrpc.programs import DirectProgramWorld, Program, ProgramWorld

OVER_EACH_WRITER = ("connection", "protocol", "resume")
"""The modules of tests in which the way of the bytes matters. With ``BROADCAST_LONG=1``, all do this."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test over each kind of writer, or over the first one."""
    if "world" in metafunc.fixturenames and not hasattr(metafunc.module, "world"):
        is_long = os.environ.get("BROADCAST_LONG")
        is_over_each = is_long or metafunc.module.__name__.rpartition(".test_")[2] in OVER_EACH_WRITER
        worlds = [ProgramWorld, DirectProgramWorld] if is_over_each else [ProgramWorld]
        metafunc.parametrize("world", worlds, indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> ProgramWorld:
    """A server with nobody in it, over one kind of writer."""
    world: ProgramWorld = request.param()
    return world


@pytest.fixture
def ann(world: ProgramWorld) -> Program:
    """A program in the lobby."""
    return world.program("ann")


@pytest.fixture
def bob(world: ProgramWorld, ann: Program) -> Program:
    """Another program, whose arrival was read by the first one."""
    bob = world.program("bob")
    ann.read()
    return bob
