"""A front that records what it shows, a server that answers when it is asked to, and choices in memory."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from broadcast.client.protocol import events, requests
from broadcast.client.session.conversation import Conversation
from broadcast.client.session.entries import Line, Notice, Output, PrivateLine, Problem, Refused, Typed

if TYPE_CHECKING:
    from broadcast.client.protocol.errors import ChatError
    from broadcast.client.session.entries import Entry
    from broadcast.client.session.views import View

NOW = 1_700_000_000.0


class FakeFront:
    """A front that records its calls."""

    def __init__(self) -> None:
        self.shown: list[Entry] = []
        self.switches: list[int] = []
        self.updates = 0
        self.alerts: list[tuple[View, Entry]] = []

    async def run(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def show(self, *entries: Entry) -> None:
        """Record entries."""
        self.shown += entries

    def switch(self, unread: int) -> None:
        """Record a switch."""
        self.switches.append(unread)

    def update(self) -> None:
        """Count an update."""
        self.updates += 1

    def alert(self, view: View, entry: Entry) -> None:
        """Record an alert."""
        self.alerts.append((view, entry))

    @property
    def texts(self) -> list[str]:
        """The shown entries, as short texts."""
        return [as_text(entry) for entry in self.shown]


class FakeServer:
    """A server that records requests. ``answer`` answers the oldest one."""

    def __init__(self) -> None:
        self.requests: list[requests.Request[Any]] = []
        """The requests that are not answered."""
        self.reasons: list[str] = []
        """The reasons of ``quit``."""
        self.uploads: list[tuple[str, str]] = []
        """The rooms and the paths of uploads, and what was cancelled."""
        self.on_progress: Callable[[int, int], None]
        """That of the last upload."""
        self.on_end: Callable[[Any, ChatError | None], None]
        self._on_end: list[Callable[[Any, ChatError | None], None]] = []

    def request(self, request: requests.Request[Any], on_end: Callable[[Any, ChatError | None], None]) -> None:
        """Record a request."""
        self.requests.append(request)
        self._on_end.append(on_end)

    def upload(
        self,
        room: str,
        path: str,
        on_progress: Callable[[int, int], None],
        on_end: Callable[[Any, ChatError | None], None],
    ) -> Callable[[], None]:
        """Record an upload."""
        self.uploads.append((room, path))
        self.on_progress, self.on_end = on_progress, on_end
        return lambda: self.uploads.append(("cancelled", path))

    def is_own(self, event: events.Line) -> bool:
        """Return whether ann has said a line."""
        return event.session == "s-ann" if event.session else event.nick == "ann"

    def quit(self, reason: str) -> None:
        """Record a leave."""
        self.reasons.append(reason)

    def answer(self, result: object = None, error: ChatError | None = None, index: int = 0) -> None:
        """Answer a request."""
        self.requests.pop(index)
        self._on_end.pop(index)(requests.Nothing() if result is None and error is None else result, error)


class FakeChoices(dict[str, bool]):
    """Choices in memory."""

    is_stored = True

    def __setitem__(self, name: str, value: bool) -> None:
        super().__setitem__(name, value)
        if not self.is_stored:
            raise ValueError("client.toml cannot be written")


class Talk:
    """A conversation of ann in the room *lobby* with a fake front and a fake server, and the events of the server."""

    def __init__(self, *rooms: str, is_connected: bool = True) -> None:
        self.front = FakeFront()
        self.server = FakeServer()
        self.choices = FakeChoices(times=True, quiet=False)
        self.ends = 0
        self.talk = Conversation(
            self.server,
            self.choices,
            rooms=rooms or ("lobby",),
            make_uid=map("own-{}".format, count(1)).__next__,
            now=lambda: NOW,
            on_end=self._ended,
        )
        self.talk.front = self.front
        self.last = dict.fromkeys(rooms or ("lobby",), 0)
        if is_connected:
            self.talk.connected(welcome(*self.last))
            self.front.shown.clear()

    def _ended(self) -> None:
        self.ends += 1

    def said(self, text: str, nick: str = "bob", room: str = "lobby", uid: str | None = None) -> None:
        """Let the server store a line. One with a *uid* is an own one."""
        self.last[room] = self.last.get(room, 0) + 1
        session = "s-ann" if uid else f"s-{nick}"
        self.talk.handle(events.Said(room, self.last[room], NOW, "ann" if uid else nick, text, session, uid))

    def store(self, index: int = 0) -> None:
        """Let the server store the requested line *index*, and confirm it."""
        request = self.server.requests[index]
        assert isinstance(request, requests.Say | requests.Emote)
        self.last[request.room] = self.last.get(request.room, 0) + 1
        kind = events.Said if isinstance(request, requests.Say) else events.Emoted
        seq = self.last[request.room]
        self.talk.handle(kind(request.room, seq, NOW, self.talk.nick, request.text, "s-ann", request.uid))
        self.server.answer(requests.Stored(seq, NOW), index=index)


def welcome(*rooms: str, nick: str = "ann", **changes: Any) -> requests.Welcome:  # noqa: ANN401 -- the fields of Welcome
    """Return the answer to ``hello``: ann and bob are in each room."""
    people = (requests.Person("ann", "s-ann"), requests.Person("bob", "s-bob"))
    snapshots = {name: requests.Snapshot(name, count=2, members=people) for name in rooms}
    return requests.Welcome(nick, "s-ann", "token", "journal", rooms=snapshots, **changes)


def as_text(entry: Entry) -> str:  # noqa: PLR0911 -- one case for each kind
    """Return an entry as a short text."""
    match entry:
        case Line(nick=nick, text=text):
            sign = "** " if entry.is_action else "* " if entry.is_file else ""
            return f"{sign}{nick}{'' if sign else ':'} {text}"
        case PrivateLine(nick=nick, text=text, is_own=is_own):
            return f"[-> {nick}] {text}" if is_own else f"[{nick}] {text}"
        case Notice(text):
            return f"* {text}"
        case Typed(text):
            return f"> {text}"
        case Output(text):
            return f"-> {text}"
        case Problem(text):
            return f"! {text}"
        case Refused(text, why):
            return f"Not said: {text} ({why})"


def entries(here: Talk, name: str) -> list[str]:
    """Return the entries of the view with this title, as short texts."""
    view = next(view for view in here.talk.views if view.title == name)
    return [as_text(entry) for entry in view.entries]


def join(here: Talk, name: str) -> None:
    here.talk.submit(f"/join {name}")
    here.server.answer(requests.Room(name, last=7, count=1, members=(requests.Person("ann", "s-ann"),)))
