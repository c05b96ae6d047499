"""The uploads of files that people share: slots, their limits, and the event at the end. No bytes, no files.

A slot allows one upload::

    open ──begin──> begun ──complete──> complete ──> the event Shared is in the room, or the file is removed again
     │               │ └─begin: the upload goes on after a lost connection
     └──────end──────┴──> ended: expired, given up, or the session has ended

Each slot is released: it ends with its session, after ``OPEN_SECONDS`` without an upload, or ``UPLOAD_SECONDS`` after
it was opened. Slots that have not begun reserve no space, because opening one costs nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from broadcast.core.errors import FileRejected, JournalError, NotStored, RejectedError
from broadcast.core.events import FileInfo, Shared, StoreFailed
from broadcast.core.file_names import clean_file_name, file_path, format_size
from broadcast.core.limits import find_source
from broadcast.core.nicknames import casefold_key

if TYPE_CHECKING:
    from broadcast.core.errors import UidReused
    from broadcast.core.events import Stored, TopicChanged
    from broadcast.core.interfaces import CallLater, FileArchive
    from broadcast.core.limits import Limits
    from broadcast.core.membership import Member
    from broadcast.core.moderation import Moderation
    from broadcast.core.room import Room

UPLOADS_PER_PERSON: Final = 4
"""Maximum number of slots that a person has at the same time."""
UPLOADS_PER_ADDRESS: Final = 8
"""Maximum number of uploads from one address at the same time."""
UPLOADS: Final = 64
"""Maximum number of uploads at the same time."""
OPEN_SECONDS: Final = 10 * 60
"""Time in which the upload to a slot must begin, in seconds."""
UPLOAD_SECONDS: Final = 60 * 60
"""Time in which an upload must be complete, in seconds from the opening of its slot."""
HOUR: Final = 3600.0
MAX_PEOPLE: Final = 10_000
"""Maximum number of people whose uploads of the last hour are counted. The least recent ones are forgotten."""
FOLDER: Final = "files/"
"""The folder of uploads and files in an address."""

State: TypeAlias = Literal["open", "begun", "complete", "ended"]
OnShared: TypeAlias = Callable[[Shared | RejectedError], None]
"""Receives the stored event of a shared file, or the reason why the file was not shared."""


@dataclass(frozen=True, slots=True)
class UploadClock:
    """The clocks and timers of the uploads."""

    now: Callable[[], float]
    """Returns monotonic seconds."""
    wall_clock: Callable[[], float]
    """Returns the time of day, in seconds since the epoch."""
    call_later: CallLater


@dataclass(slots=True, eq=False)
class Slot:
    """The permission to upload one file to the room *room*, by the session *member*.

    The door of uploads calls ``begin`` when the bytes begin to arrive, and ``complete`` when all of them are stored. It
    calls ``end`` if it gives up the upload. A broken connection needs no call: ``begin`` can follow again.
    """

    uploads: Uploads = field(repr=False)
    token: str = field(repr=False)
    """The secret that allows the upload."""
    file_id: str = field(repr=False)
    """The id of the future file. It is random, and differs from the token, because the room learns only the id."""
    member: Member = field(repr=False)
    room: str
    owner: str
    """The person for limits: an account, or else an address, or else a nickname on this machine."""
    name: str
    """The sanitized name of the file; empty until ``begin`` if the user has asked for a link."""
    size: int | None
    """The size in bytes; None until ``begin`` for a link."""
    type: str
    """The media type as the client gives it; empty if it gives none."""
    sha256: str
    """The SHA-256 that the content must have, in lower-case hexadecimal digits; empty if it is not known."""
    uid: str
    opened: float
    """Time when the slot was opened, in monotonic seconds."""
    expires: float
    """Time of day until which the upload must begin, or be complete once it has begun."""
    is_link: bool
    """Whether the slot was opened for a file that is not known yet."""
    state: State = "open"
    reserved: int = 0
    """Number of bytes that are reserved for the upload: its size, once it has begun."""
    address: str | None = field(default=None, repr=False)
    """The address from which the upload comes."""
    on_end: Callable[[str], None] | None = field(default=None, repr=False)
    """Called with the reason if the slot ends before the upload is complete."""

    @property
    def url(self) -> str:
        """The address of the upload. curl appends the file's name to one that ends with a slash."""
        return self.uploads.upload_url(self.name, is_encrypted=not self.is_link and self.member.source.is_encrypted)

    def begin(self, size: int, address: str | None, on_end: Callable[[str], None], name: str = "") -> None:
        """Begin to receive *size* bytes from the IP address *address*, or continue. Raises ``FileRejected``.

        *on_end* is called with the reason if the slot ends before ``complete``. The door then drops the bytes. *name*
        is for a link. Its upload can begin again with another name and size.
        """
        self.uploads.begin(self, size, address, name)
        self.on_end = on_end

    def complete(self, file: FileInfo, on_result: OnShared) -> None:
        """Share *file*, which the archive has stored durably. Call *on_result*, perhaps later, with the result.

        If the file is not shared, it is removed from the archive. The slot is used up in either case.
        """
        self.uploads.complete(self, file, on_result)

    def end(self, reason: str = "the upload has ended.") -> None:
        """Release the slot, unless it is complete. Further calls have no effect."""
        self.uploads.end(self, reason)


class Uploads:
    """The slots of all people. *rooms* are the open rooms by name. *make_token* returns a new secret each time."""

    def __init__(
        self,
        rooms: Mapping[str, Room],
        moderation: Moderation,
        archive: FileArchive,
        limits: Limits,
        clock: UploadClock,
        make_token: Callable[[], str],
    ) -> None:
        self.archive = archive
        self.base_url = ""
        """The address of the web page, with a slash at the end. The server sets it when it listens."""
        self.secure_base_url = ""
        """Its address over https, likewise; empty if it has none of its own."""
        self._rooms = rooms
        self._moderation = moderation
        self._limits = limits
        self._clock = clock
        self._make_token = make_token
        self._slots: dict[bytes, Slot] = {}
        """The slots that are open or begun, by a digest of the token, so that the time of a look-up tells nothing."""
        self._per_person: Counter[str] = Counter()
        """Number of these slots by owner."""
        self._begun: Counter[object] = Counter()
        """Number of slots that have begun, by the source of their address; None for this machine."""
        self.reserved_bytes = 0
        """Total size of the files whose uploads have begun and are not complete."""
        self._recent: dict[str, deque[float]] = {}
        """The times when uploads have begun in the last hour, by owner, the least recent person first."""

    @property
    def max_bytes(self) -> int:
        """Maximum size of a file, in bytes."""
        return min(self._limits.file_bytes, self._limits.files_total)

    # Addresses

    def upload_url(self, name: str, *, is_encrypted: bool) -> str:
        """Return the address for the upload of the file *name*, which may be empty. Without TLS, unless *is_encrypted*.

        A program over TLS has accepted the server's certificate already, and must not send the token without TLS.
        """
        base = (is_encrypted and self.secure_base_url) or self.base_url
        return f"{base}{FOLDER}{file_path('', name).removeprefix('/')}"

    def file_url(self, file: FileInfo) -> str:
        """Return the address of *file*, empty if it is no longer there."""
        return f"{self.base_url}{FOLDER}{file_path(file.id, file.name)}" if self.archive.has(file.id) else ""

    # Slots

    def __len__(self) -> int:
        """Return the number of slots that are open or begun."""
        return len(self._slots)

    def find(self, token: str) -> Slot | None:
        """Return the slot with this *token*, None if there is none or it has ended."""
        return self._slots.get(_digest(token))

    def find_by_uid(self, member: Member, room: str, uid: str) -> Slot | None:
        """Return the slot that *member* has opened with this *uid*, which is not empty, in *room*, None if none."""
        for slot in self._slots.values():
            if slot.uid == uid and slot.member is member and slot.room == room:
                return slot
        return None

    def open_slot(
        self,
        member: Member,
        room: Room,
        name: str = "",
        size: int | None = None,
        type: str = "",  # noqa: A002 - as in Slot
        sha256: str = "",
        uid: str = "",
    ) -> Slot:
        """Return a new slot for *member* in *room*. Raises ``RejectedError``.

        It counts as a line of the room. Without *name* and *size*, the upload tells them.
        """
        at = self._clock.wall_clock()
        owner = _owner(member)
        self._moderation.check_speech(member, at)
        self._check_size(size or 0)
        if self._per_person[owner] >= UPLOADS_PER_PERSON:
            raise FileRejected(
                f"you have {UPLOADS_PER_PERSON} uploads already, which is the limit: wait until one has ended.",
                "too-many-uploads",
                UPLOADS_PER_PERSON,
            )
        self._check_begun(member.source.address)
        self._check_space(owner, size or 0)
        self._check_hour(owner)
        self._moderation.check_line(member, room.name, at)
        slot = Slot(
            self,
            self._make_token(),
            self._make_token(),
            member,
            room.name,
            owner,
            clean_file_name(name) if name else "",
            size,
            type,
            sha256,
            uid,
            self._clock.now(),
            at + OPEN_SECONDS,
            is_link=size is None,
        )
        self._slots[_digest(slot.token)] = slot
        self._per_person[owner] += 1
        self._expire_after(OPEN_SECONDS, slot)
        return slot

    def begin(self, slot: Slot, size: int, address: str | None, name: str) -> None:
        """See ``Slot.begin``."""
        if slot.state not in {"open", "begun"}:
            raise FileRejected("the upload has ended.", "upload-ended")
        if not slot.is_link and size != slot.size:
            raise FileRejected(
                f"the file was announced with {slot.size} bytes, not {size}: share it again.", "other-size"
            )
        self._check_size(size)
        self._check_space(slot.owner, size - slot.reserved)
        if slot.state == "open":
            self._check_begun(address)
            self._check_hour(slot.owner)
            self._count_file(slot.owner)
            slot.address = address
            slot.state = "begun"
            slot.expires += UPLOAD_SECONDS - OPEN_SECONDS
            self._begun[find_source(address)] += 1
            self._expire_after(slot.opened + UPLOAD_SECONDS - self._clock.now(), slot)
        if slot.is_link:
            slot.name = clean_file_name(name)
        self.reserved_bytes += size - slot.reserved
        slot.size = slot.reserved = size

    def complete(self, slot: Slot, file: FileInfo, on_result: OnShared) -> None:
        """See ``Slot.complete``."""
        if slot.state != "begun":
            self._reject(file, on_result, FileRejected("the upload has ended.", "upload-ended"))
            return
        self._release(slot, "complete")
        self._share(slot, file, on_result)

    def end(self, slot: Slot, reason: str) -> None:
        """See ``Slot.end``."""
        if slot.state in {"open", "begun"}:
            self._release(slot, "ended")
            on_end, slot.on_end = slot.on_end, None
            if on_end is not None:
                on_end(reason)

    def end_session(self, member: Member) -> None:
        """Release the slots of *member*, whose session ends."""
        for slot in [slot for slot in self._slots.values() if slot.member is member]:
            self.end(slot, "the session has ended.")

    def _expire_after(self, seconds: float, slot: Slot) -> None:
        """End *slot* if it is in the present state after *seconds*."""
        # The timer does not refer to the slot, which would otherwise remain in memory together with its session.
        self._clock.call_later(seconds, partial(self._expire, _digest(slot.token), slot.state))

    def _expire(self, digest: bytes, state: State) -> None:
        slot = self._slots.get(digest)
        if slot is not None and slot.state == state:
            self.end(slot, "the time for the upload is over.")

    def _release(self, slot: Slot, state: State) -> None:
        """Stop counting *slot*, which is open or begun, and put it into *state*."""
        del self._slots[_digest(slot.token)]
        _decrease(self._per_person, slot.owner)
        if slot.state == "begun":
            _decrease(self._begun, find_source(slot.address))
            self.reserved_bytes -= slot.reserved
        slot.state = state

    # Limits

    def _check_size(self, size: int) -> None:
        limit = self.max_bytes
        if size > limit:
            raise FileRejected(
                f"a file holds at most {limit} bytes here ({format_size(limit)}).", "file-too-large", limit
            )

    def _check_begun(self, address: str | None) -> None:
        source = find_source(address)
        if source is not None and self._begun[source] >= UPLOADS_PER_ADDRESS:
            raise FileRejected(
                f"{UPLOADS_PER_ADDRESS} uploads come from this address already, which is the limit: try again later.",
                "too-many-uploads",
                UPLOADS_PER_ADDRESS,
            )
        if self._begun.total() >= UPLOADS:
            raise FileRejected(
                f"this server takes {UPLOADS} uploads at the same time: try again later.", "too-many-uploads", UPLOADS
            )

    def _check_space(self, owner: str, size: int) -> None:
        """Raise ``FileRejected`` if *size* bytes have no room, even without the other files of *owner*."""
        total = self._limits.files_total
        if self.archive.used_bytes - self.archive.bytes_of(owner) + self.reserved_bytes + size > total:
            raise FileRejected(
                f"the files on this server take {format_size(total)}, which is the limit: try again later.",
                "no-space",
                total,
            )

    def _check_hour(self, owner: str) -> None:
        limit, times = self._limits.files_per_hour, self._recent.get(owner)
        if limit is not None and times is not None and len(times) >= limit:
            wait = times[-limit] + HOUR - self._clock.now()
            if wait > 0:
                minutes = ceil(wait / 60)
                raise FileRejected(
                    f"you can share {limit} files an hour: try again in {minutes} minute{'s' * (minutes != 1)}.",
                    "too-many-files",
                    limit,
                    ceil(wait),
                )

    def _count_file(self, owner: str) -> None:
        now, recent, limit = self._clock.now(), self._recent, self._limits.files_per_hour
        if limit is None:
            return
        times = recent.pop(owner, None) or deque(maxlen=limit)
        times.append(now)
        recent[owner] = times
        # Each file adds one person at most, so looking at two of them forgets all people in time.
        for oldest in [person for person, _ in zip(recent, range(2), strict=False)]:
            if recent[oldest][-1] + HOUR <= now or len(recent) > MAX_PEOPLE:
                del recent[oldest]

    # The event

    def _share(self, slot: Slot, file: FileInfo, on_result: OnShared, error: JournalError | None = None) -> None:
        """Append the event to the stream of the room, once the uids of the room are known."""
        member, room = slot.member, self._rooms.get(slot.room)
        if room is None or slot.room not in member.memberships:
            self._reject(file, on_result, FileRejected(f"you have left the room {slot.room}.", "upload-ended"))
            return
        if error is not None:
            self._reject(file, on_result, NotStored(error))
            return
        if slot.uid and not room.knows_uids:
            room.load_uids(partial(self._share, slot, file, on_result))
            return
        at = self._clock.wall_clock()
        try:
            self._moderation.check_speech(member, at)
        except RejectedError as rejection:
            self._reject(file, on_result, rejection)
            return
        on_stored = partial(self._on_stored, slot, on_result)
        event = Shared(member.id, member.nick, file, at, uid=slot.uid, on_stored=on_stored)
        room.post(event, partial(self._on_repetition, file, on_result))

    def _on_stored(self, slot: Slot, on_result: OnShared, event: Stored | TopicChanged | StoreFailed) -> None:
        if isinstance(event, Shared):
            while self.archive.used_bytes > self._limits.files_total and self.archive.remove_oldest(slot.owner):
                pass
            on_result(event)
        else:
            assert isinstance(event, StoreFailed)
            assert isinstance(event.event, Shared)
            self._reject(event.event.file, on_result, NotStored(JournalError(event.reason)))

    def _on_repetition(
        self, file: FileInfo, on_result: OnShared, first: Stored | StoreFailed | UidReused | JournalError
    ) -> None:
        """Report the first event with the uid of the upload. The new copy of *file* is not needed."""
        if isinstance(first, Shared):
            self.archive.remove(file.id)
            on_result(first)
        elif isinstance(first, RejectedError):
            self._reject(file, on_result, first)
        elif isinstance(first, StoreFailed):
            self._reject(file, on_result, NotStored(JournalError(first.reason)))
        else:
            assert isinstance(first, JournalError)  # only another event of a file can be the first one
            self._reject(file, on_result, NotStored(first))

    def _reject(self, file: FileInfo, on_result: OnShared, error: RejectedError) -> None:
        self.archive.remove(file.id)
        on_result(error)


def take_down(archive: FileArchive, address: str) -> tuple[str, str]:
    """Remove the file at *address*, or with this id, from *archive*, and all others with the same content.

    Return its name, and a line about what was done. Raises ``RejectedError``.
    """
    file_id = address.rpartition(f"/{FOLDER}")[2].partition("/")[0]
    names = archive.remove_content(file_id)
    if not names:
        raise RejectedError("there is no such file, or it is no longer there. /files shows the addresses.")
    others = len(names) - 1
    also = f" So {'is 1 other share' if others == 1 else f'are {others} other shares'} of the same content."
    return names[0], f"{names[0]} is removed.{also if others else ''}"


def _owner(member: Member) -> str:
    """Return the person *member* for limits: people on this machine, who have no address, by their nicknames."""
    if member.account is not None:
        return f"account {member.account.id}"
    source = find_source(member.source.address)
    return f"local {casefold_key(member.nick)}" if source is None else f"address {source}"


def _decrease(counter: Counter[Any], key: object) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()
