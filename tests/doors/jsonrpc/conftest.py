"""Fixtures of the tests of the JSON-RPC door."""

from __future__ import annotations

import pytest

from tests.doors.jsonrpc.programs import DirectProgramWorld, Program, ProgramWorld


@pytest.fixture(params=[ProgramWorld, DirectProgramWorld])
def world(request: pytest.FixtureRequest) -> ProgramWorld:
    """A server with nobody in it, over each kind of writer."""
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
