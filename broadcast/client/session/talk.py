"""The state of a conversation, which commands and events change: the user, the views, and the current view."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from broadcast.client.protocol import requests
from broadcast.client.protocol.errors import ChatError, Ended
from broadcast.client.session.entries import Entry, Notice, Problem
from broadcast.client.session.interfaces import Choices, Front, Server
from broadcast.client.session.views import View


@dataclass(eq=False)
class Upload:
    """A file on its way to a room."""

    name: str
    sent: int = 0
    size: int = 0
    cancel: Callable[[], object] = lambda: None


LISTED_MEMBERS: Final = 1000


class Talk:
    """The user, the views, and the current view, which ``front`` shows. *rooms* are the names of the first ones."""

    front: Front

    def __init__(self, server: Server, choices: Choices, rooms: Sequence[str]) -> None:
        self.server = server
        self.choices = choices
        self.nick = ""
        """The own nickname, or the wanted one before there is a connection."""
        self.session = ""
        """The id of the own session, or an empty string before the first connection."""
        self.away: str | None = None
        """The reason why the user is away, perhaps empty, or None."""
        self.ignored: dict[str, str] = {}
        """The nicknames of ignored people, by the same in small letters."""
        self.last_private = ""
        """The nickname of the person who has written to the user last, or empty."""
        self.views = [View(name.lower()) for name in rooms]
        """The rooms and private conversations in the order opened. There is always a room."""
        self.current = self.views[0]
        self.uploads: list[Upload] = []
        self.selections = 0
        """The number of times that the user has chosen a view."""

    def ignores(self, nick: str) -> bool:
        """Return whether the user ignores a person."""
        return nick.casefold() in self.ignored

    # The current view

    def select(self, view: View) -> None:
        """Show another view, because the user has chosen it."""
        self.selections += 1
        self.switch_to(view)

    def switch_to(self, view: View) -> None:
        """Show another view."""
        if view is not self.current:
            self.current = view
            new_entries, view.new_entries = view.new_entries, 0
            view.unread = view.mentions = 0
            self.front.switch(new_entries)

    def step(self, number: int) -> None:
        """Show the view that is *number* places after the current one, or before it if *number* is negative."""
        self.select(self.views[(self.views.index(self.current) + number) % len(self.views)])

    def next_unread(self) -> None:
        """Show the next view with something new: first one with a mention or a private line."""
        start = self.views.index(self.current)
        others = [view for view in self.views[start + 1 :] + self.views[:start] if view.unread]
        if others:
            self.select(max(others, key=lambda view: view.is_urgent))

    # Views

    @property
    def rooms(self) -> list[View]:
        """The views of rooms."""
        return [view for view in self.views if not view.is_private]

    def find_room(self, name: str) -> View | None:
        """Return the view of a room, or None."""
        return next((view for view in self.rooms if view.name == name.lower()), None)

    def room_of(self, view: View) -> View:
        """Return *view* if it is a room, and the first room otherwise."""
        return view if not view.is_private else self.rooms[0]

    def private_view(self, nick: str) -> View:
        """Return the view of the private conversation with *nick*. Add it if there is none."""
        for view in self.views:
            if view.is_private and view.name.casefold() == nick.casefold():
                return view
        self.views.append(View(nick, is_private=True))
        return self.views[-1]

    def enter(self, room: requests.Room, *, is_new: bool = True) -> View:
        """Return the view of a room, with the state of the room. Add it if there is none.

        If *is_new*, the user has just come, and the lines so far are neither unread nor alerts.
        """
        view = self.find_room(room.room)
        if view is None:
            view = View(room.room)
            self.views.append(view)
        if is_new:
            view.old_seq = room.last
        view.topic = room.topic
        view.set_members(room.members, room.count)
        if room.count > len(room.members):
            self.refresh(view)
        return view

    def close(self, view: View) -> None:
        """Remove a view, unless it is the only room. Its events do not come any more."""
        view.last_seq = sys.maxsize
        if view in self.views and (view.is_private or len(self.rooms) > 1):
            if view is self.current:
                self.switch_to(self.views[self.views.index(view) - 1])
            self.views.remove(view)

    def refresh(self, view: View) -> None:
        """Ask for the members of a room. While an answer is missing, the next request waits for it."""
        view.refreshes += 1
        if view.is_private or view.refreshes > 1:
            return

        def answered(page: requests.Members | None, _error: ChatError | None) -> None:
            refreshes, view.refreshes = view.refreshes, 0
            if page is not None:
                view.set_members(page.members, page.count)
                if refreshes > 1:
                    self.refresh(view)
                self.front.update()

        self.server.request(requests.ListMembers(view.name, count=LISTED_MEMBERS), answered)

    # Files

    def upload(self, view: View, path: str) -> Upload:
        """Share the file at *path* in a room. The room's event shows it, and a problem its failure."""
        upload = Upload(PurePath(path).name)

        def progress(sent: int, size: int) -> None:
            upload.sent, upload.size = sent, size
            self.front.update()

        def ended(_shared: object, error: ChatError | None) -> None:
            if isinstance(error, Ended):
                return  # the end of the conversation follows
            self.uploads.remove(upload)
            if error is not None:
                why = Problem(f"{upload.name} is not shared: {str(error).rstrip('.')}.")
                self.add(view if view in self.views else self.current, why)
            self.work()

        self.uploads.append(upload)
        upload.cancel = self.server.upload(view.name, path, progress, ended)
        return upload

    def cancel_uploads(self) -> bool:
        """Cancel the files that are on their way. Return whether there were any."""
        uploads, self.uploads = self.uploads, []
        for upload in uploads:
            upload.cancel()
            self.add(self.current, Notice(f"The upload of {upload.name} is cancelled."))
        self.work()
        return bool(uploads)

    def work(self) -> None:
        """Go on after something has ended."""
        self.front.update()

    # Entries

    def add(self, view: View, *entries: Entry) -> None:
        """Add entries to a view, and show them if it is the current one."""
        view.entries.extend(entries)
        if view is not self.current:
            view.new_entries += len(entries)
        elif entries:
            self.front.show(*entries)

    def add_private(self, view: View, other: View, *entries: Entry) -> None:
        """Add entries to a private conversation, and to the view in which the user sees or has typed them."""
        for place in dict.fromkeys((view, other)):
            self.add(place, *entries)

    def note(self, view: View, nick: str, text: str) -> None:
        """Add a sentence about a person, unless the user ignores the person."""
        if not self.ignores(nick):
            self.add(view, Notice(text))
