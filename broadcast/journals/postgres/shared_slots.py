"""The slots of uploads to all nodes, in PostgreSQL. Each call becomes a change of the directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Literal
from weakref import WeakValueDictionary

from broadcast.core.errors import Busy, RejectedError
from broadcast.core.file_names import clean_file_name
from broadcast.core.limits import Limits, find_source
from broadcast.core.slots import (
    MAX_SLOTS_PER_PERSON,
    MAX_UPLOADS,
    MAX_UPLOADS_PER_ADDRESS,
    MIN_COUNTED_BYTES,
    OPEN_SECONDS,
    UPLOAD_SECONDS,
    OnBegun,
    OnFoundSlot,
    OnSlot,
    Slot,
    Slots,
    no_space,
    too_many,
    too_many_from_address,
    too_many_of_person,
    too_many_this_hour,
    upload_ended,
)
from broadcast.journals.postgres.database import from_text, to_text
from broadcast.journals.postgres.shared_sessions import AddChange, ignore_answer


class PostgresSlots:
    """The slots of all nodes, with these *limits*. *add* makes a change of the directory."""

    def __init__(self, add: AddChange, limits: Limits) -> None:
        self._add = add
        self._limits = limits
        self._begun: WeakValueDictionary[str, Slot] = WeakValueDictionary()
        """The slots of the uploads that this node receives, by the ids of the files."""

    def __len__(self) -> int:
        """Return the number of uploads that this node receives."""
        return len(self._begun)

    def open(self, slot: Slot, on_open: OnSlot) -> None:
        """Add *slot*."""

        def answered(answer: Any) -> None:  # noqa: ANN401 - a value of the database
            if isinstance(answer, dict):
                on_open(_to_slot(slot.token, answer, slot.url))
            else:
                on_open(self._to_error(answer) or slot)

        row = {
            "id": slot.file_id, "token": _hash(slot.token), "session": slot.session, "room": slot.room,
            "owner": slot.owner, "source": _source(slot.address), "name": slot.name, "size": slot.size,
            "type": slot.type, "sha256": slot.sha256, "uid": slot.uid, "is_link": slot.is_link,
        }  # fmt: skip
        self._change("open_slot", row, answered, seconds=OPEN_SECONDS)

    def find(self, token: str, on_found: OnFoundSlot) -> None:
        """Find the slot with this *token*."""

        def answered(answer: Any) -> None:  # noqa: ANN401 - likewise
            if not isinstance(answer, dict):
                on_found(self._to_error(answer))
                return
            slot = _to_slot(token, answer)
            begun = self._begun.get(slot.file_id)
            if begun is not None and begun.generation == slot.generation:
                begun.received = slot.received
                slot = begun
            on_found(slot)

        self._change("find_slot", {"token": _hash(token)}, answered)

    def begin(self, slot: Slot, size: int, address: str | None, name: str, on_begun: OnBegun) -> None:
        """Begin an upload, or continue."""

        def answered(answer: Any) -> None:  # noqa: ANN401 - likewise
            if not isinstance(answer, dict):
                on_begun(self._to_error(answer))
                return
            begun = _to_slot(slot.token, answer)
            slot.name, slot.size, slot.reserved = begun.name, begun.size, begun.reserved
            slot.state, slot.generation, slot.received = begun.state, begun.generation, begun.received
            self._begun[slot.file_id] = slot
            on_begun(None)

        row = {"id": slot.file_id, "size": size, "source": _source(address), "name": clean_file_name(name)}
        self._change("begin_slot", row, answered, seconds=UPLOAD_SECONDS - OPEN_SECONDS)

    def release(self, slot: Slot, state: Literal["complete", "ended"]) -> bool:
        """End *slot*. The commit of a complete file has ended its slot in the database already."""
        if slot.state not in {"open", "begun"}:
            return False
        slot.state = state
        self._begun.pop(slot.file_id, None)
        if state == "ended":
            self._add(("end_slot", {"id": slot.file_id}), ignore_answer)
        return True

    def of_session(self, session: int) -> Sequence[Slot]:
        """Return the slots whose uploads this node receives. The others end with the session in the database."""
        return [slot for slot in self._begun.values() if slot.session == session]

    def _change(self, kind: str, row: dict[str, Any], answered: Callable[[Any], None], seconds: float = 0) -> None:
        """Make the change *kind* of the slot in *row*. *seconds* is the time that the change gives to the slot."""
        limits = {
            "person": MAX_SLOTS_PER_PERSON, "address": MAX_UPLOADS_PER_ADDRESS, "all": MAX_UPLOADS,
            "total": self._limits.files_total, "least": MIN_COUNTED_BYTES, "hour": self._limits.files_per_hour,
        }  # fmt: skip
        item = {name: to_text(value) if isinstance(value, str) else value for name, value in row.items()}
        self._add((kind, {**item, "limits": limits, "seconds": seconds}), answered)

    def _to_error(self, answer: RejectedError | list[Any] | None) -> RejectedError | None:
        """Return the refusal in *answer*, which came from the database; None if it is none."""
        if answer is None or isinstance(answer, RejectedError):
            return answer
        kind, *values = answer
        refusals: dict[str, Callable[[], RejectedError]] = {
            "person": too_many_of_person,
            "address": too_many_from_address,
            "all": too_many,
            "space": partial(no_space, self._limits.files_total),
            "hour": partial(too_many_this_hour, self._limits.files_per_hour or 0, *values),
            "ended": upload_ended,
        }
        return refusals.get(kind, Busy)()


def _hash(token: str) -> str:
    return sha256(token.encode(errors="replace")).hexdigest()


def _source(address: str | None) -> str | None:
    source = find_source(address)
    return None if source is None else str(source)


def _to_slot(token: str, row: dict[str, Any], url: str = "") -> Slot:
    """Return the slot in *row*, which came from the database. *token* and *url* are not in the database."""
    values: dict[str, Any] = {
        name: from_text(value) if isinstance(value, str) else value for name, value in row.items()
    }
    return Slot(
        token,
        values["id"],
        values["session"],
        values["room"],
        values["owner"],
        values["name"],
        values["size"],
        values["type"],
        values["sha256"],
        values["uid"],
        values["expires"],
        values["is_link"],
        url=url,
        state=values["state"],
        reserved=values["reserved"],
        received=values["received"],
        generation=values["generation"],
    )


_conforms: type[Slots] = PostgresSlots
