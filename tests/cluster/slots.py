"""The slots of uploads, for the servers that share a database in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from broadcast.core.errors import RejectedError
from broadcast.core.slots import MemorySlots, OnBegun, OnFoundSlot, OnSlot, Slot, Slots, upload_ended
from tests.cluster.sessions import SessionNode


class NodeSlots:
    """The slots of uploads to all nodes, for one node. Each node has objects of its own."""

    def __init__(self, node: SessionNode) -> None:
        self._node = node
        self._begun: dict[str, Slot] = {}

    def __len__(self) -> int:
        return len(self._begun)

    def _change(self, commit: Callable[[MemorySlots], None], on_error: Callable[[RejectedError], None]) -> None:
        def run() -> None:
            try:
                commit(self._node.shared.database.slots)
            except RejectedError as error:
                refusal = error
                self._node.soon(lambda: on_error(refusal))

        self._node.shared.enqueue(run)

    def open(self, slot: Slot, on_open: OnSlot) -> None:
        """Open a slot in a later turn."""

        def opened(stored: Slot | RejectedError) -> None:
            assert isinstance(stored, Slot)
            result = slot if stored.file_id == slot.file_id else replace(stored)
            self._node.soon(lambda: on_open(result))

        self._change(lambda slots: slots.open(replace(slot), opened), on_open)

    def find(self, token: str, on_found: OnFoundSlot) -> None:
        """Find a slot in a later turn."""

        def found(stored: Slot | RejectedError | None) -> None:
            assert not isinstance(stored, RejectedError)
            is_here = stored is not None and self._node.shared.database.owner_of(stored.session) is not None
            result = replace(stored) if stored is not None and is_here else None
            self._node.soon(lambda: on_found(result))

        self._change(lambda slots: slots.find(token, found), on_found)

    def begin(self, slot: Slot, size: int, address: str | None, name: str, on_begun: OnBegun) -> None:
        """Begin an upload in a later turn."""

        def commit(slots: MemorySlots) -> None:
            stored: list[Any] = []
            slots.find(slot.token, stored.append)
            if stored == [None]:
                raise upload_ended()
            slots.begin(stored[0], size, address, name, lambda _: None)
            stored[0].generation += 1
            slot.name, slot.size, slot.reserved = stored[0].name, size, size
            slot.state, slot.generation = "begun", stored[0].generation
            self._begun[slot.file_id] = slot
            self._node.soon(lambda: on_begun(None))

        self._change(commit, on_begun)

    def release(self, slot: Slot, state: Literal["complete", "ended"]) -> bool:
        """Release a slot, unless it goes on at another node."""
        stored: list[Any] = []
        slots = self._node.shared.database.slots
        slots.find(slot.token, stored.append)
        self._begun.pop(slot.file_id, None)
        slot.state = state
        is_same = stored[0] is not None and (state == "ended" or stored[0].generation == slot.generation)
        return is_same and slots.release(stored[0], state)

    def of_session(self, session: int) -> Sequence[Slot]:
        """Return the slots of *session* whose uploads this node receives."""
        return [slot for slot in self._begun.values() if slot.session == session]


_conforms: type[Slots] = NodeSlots
