"""The views of a conversation, and the way from one to another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from broadcast.client.session.views import View

if TYPE_CHECKING:
    from broadcast.client.session.entries import Entry
    from broadcast.client.session.interfaces import Front


class Navigation:
    """The rooms *names*, the private conversations, and the current view, which ``front`` shows."""

    front: Front
    """The front. The caller sets it before any other call."""

    def __init__(self, names: Iterable[str]) -> None:
        self.views = [View(name.lower()) for name in names]
        """The rooms and private conversations in the order opened. There is always a room."""
        self.current = self.views[0]
        """The view that the front shows."""
        self.selections = 0
        """The number of times that the user has chosen a view."""

    @property
    def rooms(self) -> list[View]:
        """The views of rooms."""
        return [view for view in self.views if not view.is_private]

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
        urgent = [view for view in others if view.mentions or view.is_private]
        if others:
            self.select((urgent or others)[0])

    def find_room(self, name: str) -> View | None:
        """Return the view of a room, or None."""
        return next((view for view in self.views if not view.is_private and view.name == name.lower()), None)

    def room_of(self, view: View) -> View:
        """Return *view* if it is a room, and the first room otherwise."""
        return view if not view.is_private else self.rooms[0]

    def open_room(self, name: str) -> View:
        """Return the view of a room. Add it if there is none."""
        view = self.find_room(name)
        if view is None:
            view = View(name)
            self.views.append(view)
        return view

    def private_view(self, nick: str) -> View:
        """Return the view of the private conversation with *nick*. Add it if there is none."""
        for view in self.views:
            if view.is_private and view.name.casefold() == nick.casefold():
                return view
        view = View(nick, is_private=True)
        self.views.append(view)
        return view

    def close(self, view: View) -> None:
        """Remove a view, unless it is the only room."""
        if view in self.views and (view.is_private or len(self.rooms) > 1):
            if view is self.current:
                self.switch_to(self.views[self.views.index(view) - 1])
            self.views.remove(view)

    def add(self, view: View, *entries: Entry) -> None:
        """Add entries to a view, and show them if it is the current one."""
        view.entries.extend(entries)
        if view is not self.current:
            view.new_entries += len(entries)
        elif entries:
            self.front.show(*entries)
