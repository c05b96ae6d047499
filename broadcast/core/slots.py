"""The slots of uploads, and the limits on them. No members, no rooms, no bytes.

A slot allows one upload::

    open ──begin──> begun ──complete──> complete ──> the event Shared is in the room, or the file is removed again
     │               │ └─begin: the upload goes on after a lost connection
     └──────end──────┴──> ended: expired, given up, or the session has ended

Each slot is released: it ends with its session, after ``OPEN_SECONDS`` without an upload, or ``UPLOAD_SECONDS`` after
it was opened. Slots that have not begun reserve no space, because opening one costs nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from broadcast.core.errors import FileRejected, RejectedError
from broadcast.core.file_names import clean_file_name, format_size
from broadcast.core.limits import find_source

if TYPE_CHECKING:
    from broadcast.core.interfaces import CallLater, FileArchive
    from broadcast.core.limits import Limits

MAX_SLOTS_PER_PERSON: Final = 4
"""Maximum number of slots that a person has at the same time."""
MAX_UPLOADS_PER_ADDRESS: Final = 8
"""Maximum number of uploads from one address at the same time."""
MAX_UPLOADS: Final = 64
"""Maximum number of uploads at the same time."""
OPEN_SECONDS: Final = 10 * 60
"""Time in which the upload to a slot must begin, in seconds."""
UPLOAD_SECONDS: Final = 60 * 60
"""Time in which an upload must be complete, in seconds from the opening of its slot."""
MIN_COUNTED_BYTES: Final = 4096
"""Number of bytes that a smaller file counts, once it is stored. So the limit of bytes also limits their number."""
HOUR_SECONDS: Final = 3600.0
MAX_PEOPLE: Final = 10_000
"""Maximum number of people whose uploads of the last hour are counted. The least recent ones are forgotten."""

State: TypeAlias = Literal["open", "begun", "complete", "ended"]


@dataclass(frozen=True, slots=True)
class UploadClock:
    """The clocks and timers of the uploads."""

    now: Callable[[], float]
    """Returns monotonic seconds."""
    wall_clock: Callable[[], float]
    """Returns the time of day, in seconds since the epoch."""
    call_later: CallLater


class FilePlan(NamedTuple):
    """A file that somebody wants to upload. The upload gives its name and size if they are not known yet."""

    name: str = ""
    size: int | None = None
    """The size in bytes."""
    type: str = ""
    """The media type as the client gives it; empty if it gives none."""
    sha256: str = ""
    """The SHA-256 that the content must have, in lower-case hexadecimal digits; empty if it is not known."""
    uid: str = ""
    """The identifier that the program has chosen for the event; empty if there is none."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Slot:
    """The permission to upload one file to the room *room*, by the session *session*.

    In a cluster, each node that needs the slot has an object of its own. Its values are those that the database had
    when the node asked for them.
    """

    token: str = field(repr=False)
    """The secret that allows the upload."""
    file_id: str = field(repr=False)
    """The id of the future file. It is random, and differs from the token, because the room learns only the id."""
    session: int
    room: str
    owner: str
    """The person whose limits count the upload: an account, or else an address, or else a nickname on this machine."""
    name: str
    """The sanitized name of the file; empty until ``begin`` if the user has asked for a link."""
    size: int | None
    """The size in bytes; None until ``begin`` for a link."""
    type: str
    sha256: str
    uid: str
    expires: float
    """Time of day until which the upload must begin, or be complete once it has begun."""
    is_link: bool
    """Whether the slot is that of a link (``/upload-link``), whose file is known only when the upload begins."""
    address: str | None = field(default=None, repr=False)
    """The address of the person, and then the one from which the upload comes."""
    url: str = ""
    """The address of the upload, where the slot was opened. curl appends the file's name if it ends with a slash."""
    state: State = "open"
    opened: float = 0.0
    """Time when the slot was opened, in monotonic seconds of this node."""
    reserved: int = 0
    """Number of bytes that are reserved for the upload: its size, once it has begun."""
    received: int = 0
    """Number of bytes after which any node can continue. It is 0 if the server is alone."""
    generation: int = 0
    """A number that rises with each ``begin`` in a cluster. Bytes of an older one are refused."""
    on_end: Callable[[str], None] | None = field(default=None, repr=False)
    """Called with the reason if the slot ends before the upload is complete."""


OnSlot: TypeAlias = Callable[[Slot | RejectedError], None]
"""Receives a slot, or the reason of a refusal."""
OnFoundSlot: TypeAlias = Callable[[Slot | RejectedError | None], None]
"""Receives a slot, None if there is none, or the reason why it could not be looked up."""
OnBegun: TypeAlias = Callable[[RejectedError | None], None]
"""Receives None once an upload has begun, or the reason of a refusal."""


class Slots(Protocol):
    """The slots of all people: those of a server that is alone, or those of all nodes of a cluster.

    A server that is alone calls back at once, and raises its refusals. In a cluster, the database answers later.
    """

    def __len__(self) -> int:
        """Return the number of slots that are open or begun, as far as this node knows."""

    def open(self, slot: Slot, on_open: OnSlot) -> None:
        """Add *slot*. Raises ``FileRejected``.

        If the session has a slot for this room with the same ``uid``, which is not empty, *on_open* receives that one.
        """

    def find(self, token: str, on_found: OnFoundSlot) -> None:
        """Find the slot with this *token*, unless it has ended."""

    def begin(self, slot: Slot, size: int, address: str | None, name: str, on_begun: OnBegun) -> None:
        """Begin an upload of *size* bytes to *slot*, or continue. Raises ``FileRejected``.

        *size* and *name* become those of the slot, if it is for a link. ``received`` has a new value after that.
        """

    def release(self, slot: Slot, state: Literal["complete", "ended"]) -> bool:
        """Put *slot* into *state*, and count it no longer.

        Return False, and change nothing, if the slot has ended, or if it is to be complete and has not begun.
        """

    def of_session(self, session: int) -> Sequence[Slot]:
        """Return the slots of *session* that this node has to end with it."""


class MemorySlots:
    """The slots of a server that is alone. *archive* has the complete files."""

    def __init__(self, archive: FileArchive, limits: Limits, clock: UploadClock) -> None:
        self._archive = archive
        self._limits = limits
        self._clock = clock
        self._slots: dict[bytes, Slot] = {}
        """The slots that are open or begun, by a digest of the token. So the time of a look-up tells nothing of it."""
        self._per_owner: Counter[str] = Counter()
        """Number of these slots, by owner."""
        self._begun_per_source: Counter[object] = Counter()
        """Number of slots that have begun, by the source of their address; None for this machine."""
        self.reserved_bytes = 0
        """Total size of the files whose uploads have begun and are not complete."""
        self._begin_times: dict[str, deque[float]] = {}
        """The times at which uploads have begun in the last hour, by owner. The least recent owner is first."""

    def __len__(self) -> int:
        """Return the number of slots that are open or begun."""
        return len(self._slots)

    def open(self, slot: Slot, on_open: OnSlot) -> None:
        """Add *slot*."""
        known = self._find_by_uid(slot)
        if known is not None:
            on_open(known)
            return
        if self._per_owner[slot.owner] >= MAX_SLOTS_PER_PERSON:
            raise too_many_of_person()
        self._check_uploads(slot.address)
        self._check_space(slot.owner, slot.size or 0)
        self._check_hour(slot.owner)
        slot.opened = self._clock.now()
        self._slots[_digest(slot.token)] = slot
        self._per_owner[slot.owner] += 1
        self._expire_after(OPEN_SECONDS, slot)
        on_open(slot)

    def _find_by_uid(self, wanted: Slot) -> Slot | None:
        key = wanted.uid, wanted.session, wanted.room
        slots = self._slots.values() if wanted.uid else ()
        return next((slot for slot in slots if (slot.uid, slot.session, slot.room) == key), None)

    def find(self, token: str, on_found: OnFoundSlot) -> None:
        """Find the slot with this *token*."""
        on_found(self._slots.get(_digest(token)))

    def begin(self, slot: Slot, size: int, address: str | None, name: str, on_begun: OnBegun) -> None:
        """Begin an upload, or continue."""
        if slot.state not in {"open", "begun"}:
            raise upload_ended()
        self._check_space(slot.owner, size - slot.reserved)
        if slot.state == "open":
            self._check_uploads(address)
            self._check_hour(slot.owner)
            self._count_file(slot.owner)
            slot.address = address
            slot.state = "begun"
            slot.expires += UPLOAD_SECONDS - OPEN_SECONDS
            self._begun_per_source[find_source(address)] += 1
            self._expire_after(slot.opened + UPLOAD_SECONDS - self._clock.now(), slot)
        if slot.is_link:
            slot.name = clean_file_name(name)
        self.reserved_bytes += size - slot.reserved
        slot.size = slot.reserved = size
        on_begun(None)

    def release(self, slot: Slot, state: Literal["complete", "ended"]) -> bool:
        """Put *slot* into *state*, and count it no longer."""
        if slot.state != "begun" and (slot.state != "open" or state == "complete"):
            return False
        del self._slots[_digest(slot.token)]
        _decrease(self._per_owner, slot.owner)
        if slot.state == "begun":
            _decrease(self._begun_per_source, find_source(slot.address))
            self.reserved_bytes -= slot.reserved
        slot.state = state
        return True

    def of_session(self, session: int) -> Sequence[Slot]:
        """Return all slots of *session*."""
        return [slot for slot in self._slots.values() if slot.session == session]

    def _expire_after(self, seconds: float, slot: Slot) -> None:
        """End *slot* if it is still in its present state after *seconds*."""
        # The timer does not refer to the slot, which would otherwise remain in memory.
        self._clock.call_later(seconds, partial(self._expire, _digest(slot.token), slot.state))

    def _expire(self, key: bytes, state: State) -> None:
        slot = self._slots.get(key)
        if slot is not None and slot.state == state:
            end_slot(self, slot, "the time for the upload is over.")

    # Limits

    def _check_uploads(self, address: str | None) -> None:
        source = find_source(address)
        if source is not None and self._begun_per_source[source] >= MAX_UPLOADS_PER_ADDRESS:
            raise too_many_from_address()
        if self._begun_per_source.total() >= MAX_UPLOADS:
            raise too_many()

    def _check_space(self, owner: str, size: int) -> None:
        """Raise ``FileRejected`` if *size* bytes have no space, even if the stored files of *owner* are removed."""
        total, archive = self._limits.files_total, self._archive
        if archive.used_bytes - archive.bytes_of(owner) + self.reserved_bytes + size > total:
            raise no_space(total)

    def _check_hour(self, owner: str) -> None:
        limit, times = self._limits.files_per_hour, self._begin_times.get(owner)
        if limit is not None and times is not None and len(times) >= limit:
            wait = times[-limit] + HOUR_SECONDS - self._clock.now()
            if wait > 0:
                raise too_many_this_hour(limit, wait)

    def _count_file(self, owner: str) -> None:
        now, people, limit = self._clock.now(), self._begin_times, self._limits.files_per_hour
        if limit is None:
            return
        times = people.pop(owner, None) or deque(maxlen=limit)
        times.append(now)
        people[owner] = times
        # Each file adds at most one person. Two people are checked for each file, so all are removed in time.
        for oldest in [person for person, _ in zip(people, range(2), strict=False)]:
            if people[oldest][-1] + HOUR_SECONDS <= now or len(people) > MAX_PEOPLE:
                del people[oldest]


def end_slot(slots: Slots, slot: Slot, reason: str) -> None:
    """Release *slot*, unless it has ended or is complete, and tell its upload the *reason*."""
    if slots.release(slot, "ended"):
        on_end, slot.on_end = slot.on_end, None
        if on_end is not None:
            on_end(reason)


def _decrease(counter: Counter[Any], key: object) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _digest(token: str) -> bytes:
    """Return a hash of *token*."""
    return sha256(token.encode(errors="replace")).digest()


# Refusals


def upload_ended() -> FileRejected:
    """Return the refusal of an upload to a slot that has ended."""
    return FileRejected("the upload has ended.", "upload-ended")


def too_many_of_person() -> FileRejected:
    """Return the refusal of a person who has too many slots."""
    text = f"you have {MAX_SLOTS_PER_PERSON} uploads already, which is the limit: wait until one has ended."
    return FileRejected(text, "too-many-uploads", MAX_SLOTS_PER_PERSON)


def too_many_from_address() -> FileRejected:
    """Return the refusal of an address from which too many uploads come."""
    text = f"{MAX_UPLOADS_PER_ADDRESS} uploads come from this address already, which is the limit: try again later."
    return FileRejected(text, "too-many-uploads", MAX_UPLOADS_PER_ADDRESS)


def too_many() -> FileRejected:
    """Return the refusal of an upload while there are too many others."""
    text = f"this server takes {MAX_UPLOADS} uploads at the same time: try again later."
    return FileRejected(text, "too-many-uploads", MAX_UPLOADS)


def no_space(total: int) -> FileRejected:
    """Return the refusal of a file that has no space, because all files may take *total* bytes together."""
    text = f"the files on this server take {format_size(total)}, which is the limit: try again later."
    return FileRejected(text, "no-space", total)


def too_many_this_hour(limit: int, wait: float) -> FileRejected:
    """Return the refusal of a person who has shared *limit* files, and can share another one in *wait* seconds."""
    minutes = ceil(wait / 60)
    text = f"you can share {limit} files an hour: try again in {minutes} minute{'s' * (minutes != 1)}."
    return FileRejected(text, "too-many-files", limit, ceil(wait))
