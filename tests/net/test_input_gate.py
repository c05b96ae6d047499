"""The transport reads exactly while there is no reason against it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.net.input_gate import InputGate, PauseReason


class FakeTransport:
    """Records how often it was paused and resumed."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")


@pytest.mark.parametrize("reason", PauseReason)
def test_one_reason_pauses_until_it_is_gone(reason: PauseReason) -> None:
    transport = FakeTransport()
    gate = InputGate(transport)
    gate.set(reason)
    assert reason in gate
    gate.apply()
    assert transport.calls == ["pause"]
    gate.set(reason, active=False)
    assert reason not in gate
    gate.apply()
    assert transport.calls == ["pause", "resume"]


def test_reasons_that_come_and_go_before_apply_do_not_reach_the_transport() -> None:
    transport = FakeTransport()
    gate = InputGate(transport)
    gate.set(PauseReason.SESSION_BUSY)
    gate.set(PauseReason.SESSION_BUSY, active=False)
    gate.apply()
    assert transport.calls == []


def test_open_gate_reads_whatever_reasons_follow() -> None:
    transport = FakeTransport()
    gate = InputGate(transport)
    for reason in PauseReason:
        gate.set(reason)
    gate.apply()
    gate.open()
    assert transport.calls == ["pause", "resume"]
    assert not any(reason in gate for reason in PauseReason)
    gate.set(PauseReason.SESSION_BUSY)
    gate.apply()
    assert transport.calls == ["pause", "resume"], "it reads to its end"


def test_detached_gate_leaves_the_transport_alone() -> None:
    transport = FakeTransport()
    gate = InputGate(transport)
    gate.detach()
    gate.set(PauseReason.RATE_LIMITED)
    gate.apply()
    assert PauseReason.RATE_LIMITED in gate
    gate.open()
    assert transport.calls == []


@given(st.lists(st.tuples(st.sampled_from(PauseReason), st.booleans())))
def test_transport_reads_while_the_set_is_empty(changes: list[tuple[PauseReason, bool]]) -> None:
    transport = FakeTransport()
    gate = InputGate(transport)
    reasons: set[PauseReason] = set()
    calls = ["resume"]
    for reason, active in changes:
        gate.set(reason, active=active)
        (reasons.add if active else reasons.discard)(reason)
        gate.apply()
        wanted = "pause" if reasons else "resume"
        if calls[-1] != wanted:
            calls.append(wanted)
        assert transport.calls == calls[1:]
