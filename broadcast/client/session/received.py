"""The events of the server: each changes the state of the conversation, or becomes an entry of a view."""

from __future__ import annotations

import re

from broadcast.client.protocol import events
from broadcast.client.session.entries import Line, Notice, PrivateLine, Problem
from broadcast.client.session.talk import Talk
from broadcast.client.session.views import View


def take(talk: Talk, view: View, event: events.Event) -> None:  # noqa: C901, PLR0912 -- one case for each kind of event
    """Take an event of the room of *view*. An event without a room belongs to the current view."""
    match event:
        case events.Said() | events.Emoted() | events.Shared():
            _take_line(talk, view, event)
        case events.Told(nick=nick) if not talk.ignores(nick):
            _take_private(talk, event)
        case events.Joined(nick=nick, session=session) if session != talk.session:
            view.add_member(session, nick)
            _note_presence(talk, view, nick, f"{nick} joined.")
        case events.Left(session=session) if session == talk.session:
            talk.close(view)
        case events.Left(nick=nick, session=session):
            view.remove_member(session)
            _note_presence(talk, view, nick, _describe_leaving(event))
        case events.Renamed(nick=nick, session=session) if session == talk.session:
            talk.nick = nick
        case events.Renamed():
            _rename(talk, view, event)
        case events.Crowd(joined=joined, left=left):
            talk.refresh(view)
            for count, verb in ((joined, "joined"), (left, "left")):
                if count:
                    _note_presence(talk, view, "", f"{count} people {verb}.")
        case events.Gap(first=first, last=last):
            talk.refresh(view)
            if first <= last:
                view.last_seq = max(view.last_seq, last)
                missed = "1 line" if first == last else f"{last - first + 1} lines"
                talk.add(view, Notice(f"You missed {missed}. /history #{first}-#{last} shows them."))
        case events.Skipped():
            talk.refresh(view)
        case events.AwayChanged(session=session, reason=reason) if session == talk.session:
            talk.away = reason
        case events.TopicChanged(nick=nick, text=text):
            view.topic = text
            talk.note(view, nick, f"{nick} set the topic: {text}" if text else f"{nick} removed the topic.")
        case events.Announced(text=text):
            talk.add(view, Notice(text))
        case events.LoginCode(user_code=code, verification_uri=page, expires_in=seconds):
            # They stand apart: a link with both would let a user confirm a login that somebody else began.
            talk.add(view, Notice(f"Open this page in a browser: {page}"))
            talk.add(view, Notice(f"Type this code there, only if you started this yourself: {code}"))
            talk.add(view, Notice(f"The code is valid for {max(int(seconds) // 60, 1)} min."))
        case events.LoginEnded(nick=nick, account=account, error=error):
            talk.nick = nick
            talk.add(view, Problem(error) if error else Notice(f"You are logged in as {account}."))
        case events.Reconnected(same_journal=False):
            talk.add(view, Notice("The server has another journal. Lines may come a second time."))


def line_of(talk: Talk, event: events.Line) -> Line:
    """Return the entry of a line."""
    is_own = talk.server.is_own(event)
    name = rf"(?<![\w.-]){re.escape(talk.nick)}(?![\w-])"
    is_mention = not is_own and re.search(name, event.text, re.IGNORECASE) is not None
    is_action, is_file = isinstance(event, events.Emoted), isinstance(event, events.Shared)
    return Line(event.at, event.nick, event.text, event.seq, is_action, is_own, is_mention, is_file)


def _describe_leaving(event: events.Left) -> str:
    """Return the text of a notice. A reason in parentheses is the server's, because anybody can type one."""
    if not event.reason:
        return f"{event.nick} left."
    return f"{event.nick} left: {event.reason}" if event.by is None else f"{event.nick} left ({event.reason})"


def _take_line(talk: Talk, view: View, event: events.Line) -> None:
    view.last_seq = max(view.last_seq, event.seq)
    line = line_of(talk, event)
    if talk.ignores(line.nick) and not line.is_own:
        return
    talk.add(view, line)
    if line.seq <= view.old_seq:
        view.new_entries = 0
    elif not line.is_own and view is not talk.current:
        view.unread += 1
        view.mentions += line.is_mention
    if line.is_mention and line.seq > view.old_seq:
        talk.front.alert(view, line)


def _take_private(talk: Talk, event: events.Told) -> None:
    view = talk.private_view(event.nick)
    talk.last_private = event.nick
    line = PrivateLine(event.at, event.nick, event.text)
    view.unread += view is not talk.current
    talk.add_private(view, talk.current, line)
    talk.front.alert(view, line)


def _rename(talk: Talk, view: View, event: events.Renamed) -> None:
    old, nick = event.old, event.nick
    if event.session in view.members:
        view.members[event.session] = nick
    if talk.ignored.pop(old.casefold(), None):
        talk.ignored[nick.casefold()] = nick
    if talk.last_private == old:
        talk.last_private = nick
    for other in talk.views:
        if other.is_private and other.name == old:
            other.name = nick
    talk.add(view, Notice(f"{old} is now {nick}."))


def _note_presence(talk: Talk, view: View, nick: str, text: str) -> None:
    """Show that people come or leave, unless the user does not want to know it."""
    if not talk.choices["quiet"]:
        talk.note(view, nick, text)
