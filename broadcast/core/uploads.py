"""The uploads of files that people share: slots for them, and the event at the end. No bytes, no files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from broadcast.core.errors import FileRejected, JournalError, NotStored, RejectedError
from broadcast.core.events import FileInfo, Shared, StoreFailed
from broadcast.core.file_names import clean_file_name, file_path, format_size
from broadcast.core.limits import find_source
from broadcast.core.nicknames import casefold_key
from broadcast.core.slots import (
    OPEN_SECONDS,
    FilePlan,
    OnBegun,
    OnFoundSlot,
    OnSlot,
    Slot,
    Slots,
    end_slot,
    upload_ended,
)

if TYPE_CHECKING:
    from broadcast.core.errors import UidReused
    from broadcast.core.events import Stored, TopicChanged
    from broadcast.core.interfaces import FileArchive
    from broadcast.core.limits import Limits
    from broadcast.core.membership import Member
    from broadcast.core.moderation import Moderation
    from broadcast.core.people import People
    from broadcast.core.room import Room
    from broadcast.core.rooms import Rooms

FOLDER: Final = "files/"
"""The folder of uploads and files in an address."""

OnShared: TypeAlias = Callable[[Shared | RejectedError], None]
"""Receives the stored event of a shared file, or the reason why the file was not shared."""


class Uploads:
    """The uploads to all rooms. *make_token* returns a new secret each time. *now* returns the time of day."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server that uploads need
        self,
        rooms: Rooms,
        people: People,
        moderation: Moderation,
        archive: FileArchive,
        slots: Slots,
        limits: Limits,
        now: Callable[[], float],
        make_token: Callable[[], str],
    ) -> None:
        self.archive = archive
        self.slots = slots
        self.base_url = ""
        """The address of the web page, with a slash at the end. The server sets it when it listens."""
        self.secure_base_url = ""
        """Its address over https, likewise; empty if it has none of its own."""
        self._rooms = rooms
        self._people = people
        self._moderation = moderation
        self._limits = limits
        self._now = now
        self._make_token = make_token

    @property
    def max_bytes(self) -> int:
        """Maximum size of a file, in bytes."""
        return min(self._limits.file_bytes, self._limits.files_total)

    # Addresses

    def upload_url(self, name: str, *, is_encrypted: bool) -> str:
        """Return the address for the upload of the file *name*, which may be empty. It is https if *is_encrypted*.

        A program over TLS has accepted the server's certificate already, and must not send the token without TLS.
        """
        base = (is_encrypted and self.secure_base_url) or self.base_url
        return f"{base}{FOLDER}{file_path('', name).removeprefix('/')}"

    def file_url(self, file: FileInfo) -> str:
        """Return the address of *file*, empty if it is no longer there."""
        return f"{self.base_url}{FOLDER}{file_path(file.id, file.name)}" if self.archive.has(file.id) else ""

    # Slots

    def open_slot(self, member: Member, room: Room, plan: FilePlan, on_open: OnSlot) -> bool:
        """Open a slot for the file *plan* of *member* in *room*, and call *on_open* with it. Raises ``RejectedError``.

        The slot counts as a line of the room. If *member* has one with this uid there, *on_open* receives that one.

        Return True if *on_open* was called at once. Return False if the database has to be asked: *on_open* is then
        called later, perhaps with a refusal.
        """
        at = self._now()
        self._moderation.check_speech(member, at)
        self._check_size(plan.size or 0)
        slot = self._make_slot(member, room, plan, at)
        was_called = has_returned = False

        def opened(result: Slot | RejectedError) -> None:
            nonlocal was_called
            was_called = True
            if result is slot:
                try:
                    self._moderation.check_line(member, room.name, at)
                except RejectedError as rejection:
                    self.end(slot)
                    if not has_returned:
                        raise
                    result = rejection
            on_open(result)

        self.slots.open(slot, opened)
        has_returned = True
        return was_called

    def _make_slot(self, member: Member, room: Room, plan: FilePlan, at: float) -> Slot:
        is_link = plan.size is None
        name = "" if is_link else clean_file_name(plan.name)
        return Slot(
            self._make_token(),
            self._make_token(),
            member.id,
            room.name,
            _owner(member),
            *plan._replace(name=name),
            at + OPEN_SECONDS,
            is_link=is_link,
            address=member.source.address,
            url=self.upload_url(name, is_encrypted=not is_link and member.source.is_encrypted),
        )

    def find(self, token: str, on_found: OnFoundSlot) -> None:
        """Call *on_found* with the slot that has this *token*: at once, unless the database has to be asked."""
        self.slots.find(token, on_found)

    def begin(
        self,
        slot: Slot,
        size: int,
        address: str | None,
        on_begun: OnBegun,
        on_end: Callable[[str], None],
        name: str = "",
    ) -> None:
        """Begin to receive *size* bytes from the IP address *address*, or continue. Raises ``FileRejected``.

        *on_begun* is called at once, unless the database has to be asked. *on_end* is called with the reason if the
        slot ends before ``complete``. The door then drops the bytes. *name* is for a link, whose upload can begin again
        with another name and size. After a lost connection, the door need not call anything before the next ``begin``.
        """
        if slot.state in {"open", "begun"} and not slot.is_link and size != slot.size:
            raise FileRejected(
                f"the file was announced with {slot.size} bytes, not {size}: share it again.", "other-size"
            )
        self._check_size(size)

        def begun(error: RejectedError | None) -> None:
            if error is None:
                slot.on_end = on_end
            on_begun(error)

        self.slots.begin(slot, size, address, name, begun)

    def complete(self, slot: Slot, file: FileInfo, on_result: OnShared) -> None:
        """Share *file*, which the archive has stored durably. Call *on_result*, perhaps later, with the result.

        If the file is not shared, it is removed from the archive. The slot ends in either case.
        """
        if self.slots.release(slot, "complete"):
            self._share(slot, file, on_result)
        else:
            self._reject(file, on_result, upload_ended())

    def end(self, slot: Slot, reason: str = "the upload has ended.") -> None:
        """Release *slot*, unless it is complete. Further calls have no effect."""
        end_slot(self.slots, slot, reason)

    def end_session(self, session: int) -> None:
        """Release the slots of *session*, which ends."""
        for slot in self.slots.of_session(session):
            self.end(slot, "the session has ended.")

    def _check_size(self, size: int) -> None:
        limit = self.max_bytes
        if size > limit:
            raise FileRejected(
                f"a file holds at most {limit} bytes here ({format_size(limit)}).", "file-too-large", limit
            )

    # The event

    def _share(self, slot: Slot, file: FileInfo, on_result: OnShared) -> None:
        """Share *file* in the name of the session of *slot*, which can be on another node.

        The room stays open until *on_result* is called, even if no member of it is on this node.
        """

        def opened(room: Room | RejectedError) -> None:
            if isinstance(room, RejectedError):
                self._reject(file, on_result, NotStored(JournalError(str(room))))
                return
            self._rooms.reserve([room])

            def end(result: Shared | RejectedError) -> None:
                self._rooms.end_reservations([room])
                on_result(result)

            self._share_in(room, slot, file, end)

        self._rooms.open(slot.room, opened)

    def _share_in(
        self, room: Room, slot: Slot, file: FileInfo, on_result: OnShared, error: JournalError | None = None
    ) -> None:
        """Append the event to the stream of *room*, once the uids of the room are known.

        *error* is the reason if they cannot be loaded. If the session is on another node, the database has checked that
        it is in the room.
        """
        member = self._people.members.get(slot.session)
        if member is None or not (member.is_remote or slot.room in member.memberships):
            self._reject(file, on_result, FileRejected(f"you have left the room {slot.room}.", "upload-ended"))
            return
        if error is not None:
            self._reject(file, on_result, NotStored(error))
            return
        if slot.uid and not room.knows_uids:
            room.load_uids(partial(self._share_in, room, slot, file, on_result))
            return
        at = self._now()
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
        """Report *first*, the event with the uid of the upload that came before. The new copy of *file* is removed."""
        if isinstance(first, Shared):
            self.archive.remove(file.id)
            on_result(first)
        elif isinstance(first, RejectedError):
            self._reject(file, on_result, first)
        elif isinstance(first, StoreFailed):
            self._reject(file, on_result, NotStored(JournalError(first.reason)))
        else:
            assert isinstance(first, JournalError)  # an event of another kind is reported as UidReused
            self._reject(file, on_result, NotStored(first))

    def _reject(self, file: FileInfo, on_result: OnShared, error: RejectedError) -> None:
        self.archive.remove(file.id)
        on_result(error)


def take_down(archive: FileArchive, address: str) -> tuple[str, str]:
    """Remove the file at *address*, which may be an id alone, from *archive*, and all others with the same content.

    Return its name, and a line that tells the operator about the removal. Raises ``RejectedError``.
    """
    file_id = address.rpartition(f"/{FOLDER}")[2].partition("/")[0]
    names = archive.remove_content(file_id)
    if not names:
        raise RejectedError("there is no such file, or it is no longer there. /files shows the addresses.")
    others = len(names) - 1
    also = f" So {'is 1 other share' if others == 1 else f'are {others} other shares'} of the same content."
    return names[0], f"{names[0]} is removed.{also if others else ''}"


def _owner(member: Member) -> str:
    """Return the owner of the slots of *member*. People on this machine have no address, so the nickname counts."""
    if member.account is not None:
        return f"account {member.account.id}"
    source = find_source(member.source.address)
    return f"local {casefold_key(member.nick)}" if source is None else f"address {source}"
