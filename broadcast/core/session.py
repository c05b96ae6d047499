"""One session, from the welcome to the goodbye, fed with lines of text; no bytes, no connection.

``session_machine`` decides what each input does in each state. Its outputs are methods of the session.

A session processes one line at a time. While ``Session.ready`` is false, the door holds the lines that follow and waits
for ``Peer.ready_for_line``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from weakref import proxy

from broadcast.core import commands
from broadcast.core.account_commands import is_password_command, login_dialogue, parse_login
from broadcast.core.accounts import Account
from broadcast.core.errors import JournalError, NotPermitted, PasswordNeeded, RejectedError, WrongPassword
from broadcast.core.events import (
    CommandReply,
    ErrorReply,
    Gap,
    JoinConfirmed,
    Notice,
    PasswordPrompt,
    PasswordTyped,
    PrivateMessage,
    Prompt,
    ReplayLine,
    RoomEntered,
    ServerNotice,
    WaitingLine,
    Welcome,
)
from broadcast.core.hub import Hub
from broadcast.core.interfaces import Callback, Peer, View
from broadcast.core.login_interfaces import DeviceCode
from broadcast.core.membership import GONE, Link, Member
from broadcast.core.nicknames import casefold_key, reject_controls
from broadcast.core.oidc_login import OidcLogin, describe_code
from broadcast.core.password_dialogue import (
    MAX_WRONG_PASSWORDS,
    TYPED_AHEAD_SECONDS,
    PasswordDialogue,
    TypedPasswords,
)
from broadcast.core.records import PrivateLine
from broadcast.core.room import Room
from broadcast.core.sanitize import sanitize
from broadcast.core.session_machine import Inputs, LineTooLongError, new_machine
from broadcast.core.settings import Settings
from broadcast.core.source import Source
from broadcast.core.stats import Rejection

MAX_REJECTED_NICKS = 10
"""Number of rejected nicknames after which the session ends."""
ARRIVAL_NAMES = 20
"""Maximum number of members that ``JoinConfirmed`` names. The others are only counted."""
CONNECTION_LOST = "connection lost"
"""The leave reason of a session whose connection broke."""
NEEDS_TLS = "a password needs an encrypted connection here: connect with TLS."
"""The reason why a password is not asked for."""
NOT_ENCRYPTED = "This connection is not encrypted: others on the way can read a password."
"""The warning before a question for a password."""
EMPTY_LINE_ENDS = "An empty line ends this."
"""The end of each error after which a password dialogue goes on, because ``quit`` and commands do not end it."""
_PROMPT = Prompt("Nickname:")
_DEFAULT_VIEW = View()


def greeting(settings: Settings) -> tuple[Notice, ...]:
    """Return the notices with which a session begins."""
    return Welcome(settings.name, settings.motd), _PROMPT


class Session:
    """The session of one connection. A door creates it and feeds it with lines.

    A door calls ``start``, or ``reject`` at once. While ``ready``, it calls ``line``, or ``line_too_long`` for a line
    of more than ``max_line_bytes``. After the last line it calls ``leave``, with ``CONNECTION_LOST`` if the connection
    broke. It may call ``reject`` at any time; that does nothing once there is a nickname. With *link*, the session can
    take over the nickname of an earlier connection of its user, and lose its own to a later one.
    """

    def __init__(self, hub: Hub, peer: Peer, source: Source, link: Link | None = None) -> None:
        self.id = hub.next_session_id()
        self.hub = hub
        self.peer = peer
        self.source = source
        """The origin of the connection."""
        self._link = link
        self.ready = False
        """Whether the session accepts the next line."""
        self.view = _DEFAULT_VIEW
        self.first_nick = ""
        """The nickname with which the session joined; empty before one was accepted."""
        self.room = hub.lobby
        """The room of this session, from the moment when it has a nickname."""
        self.leave_reason = ""
        """Why the session ended; empty if no reason was given, or it has not ended."""
        self._member: Member | None = None
        self._rejected_nicks = 0
        self.max_line_bytes = hub.settings.limits.nickname_bytes
        """Maximum length of the next line, in bytes without its end."""
        self._has_arrived = False
        """Whether the session has been in a room."""
        self._undelivered_leaves = 0
        """Number of rooms that this session has left and whose other members have not all received that."""
        self._held_messages: list[PrivateMessage] = []
        """Private messages that have come during a move."""
        self._unconfirmed: PrivateLine | None = None
        """The last stored private message that was sent and that no input has followed."""
        self._is_connected = True
        self._in_room = False
        """True in the state *broadcast*. Only the transitions into and out of this state change it."""
        self._interprets_lines = False
        """Whether ``line`` has nothing to do but interpret the next line."""
        self._dialogue: PasswordDialogue | None = None
        """The password dialogue; None outside the states for it."""
        self._typed_passwords: TypedPasswords | None = None
        """The passwords that were typed, until another line follows them."""
        self._wrong_passwords = 0
        self._oidc_login: OidcLogin | None = None
        """The login with OpenID Connect that is under way at the prompt for the nickname."""
        self.has_asked_password = False
        """Whether the session has ever asked for a password."""
        # The machine and the member refer to the session weakly, because the door owns it until its end. With a
        # reference cycle, each session would remain in memory until the garbage collector runs.
        self._machine = new_machine(proxy(self))

    @property
    def member(self) -> Member:
        """The member. There is one only after a nickname was accepted."""
        assert self._member is not None
        return self._member

    @property
    def nick(self) -> str:
        """The nickname; empty before one was accepted."""
        return "" if self._member is None else self._member.nick

    @property
    def congested(self) -> bool:
        """Whether the peer reads so slowly that nothing more should be queued for it alone."""
        return self.peer.congested

    def start(self) -> None:
        """Begin: the connection is open."""
        self._machine.start()

    def line_too_long(self, limit: int) -> None:
        """Process a line of more than *limit* bytes, which was dropped."""
        self._confirm_private()
        self._machine.line_too_long(limit)

    def leave(self, reason: str) -> None:
        """End: the user leaves, or the connection is lost."""
        if reason != CONNECTION_LOST:
            self._confirm_private()
        self._machine.leave(reason)

    def reject(self, reason: str, kind: Rejection | None = None) -> None:
        """End, unless there is a nickname: too many connections, no nickname in time, or another protocol.

        *kind* is the counter, by default that of connections above the limit, or of those without a nickname.
        """
        self._machine.reject(reason, kind)

    def leave_delivered(self, room: str) -> None:  # noqa: ARG002 - all of them count
        """Say goodbye, or end the move, once all rooms have delivered the leave; see ``MemberListener``."""
        self._undelivered_leaves -= 1
        if not self._undelivered_leaves:
            self._machine.leave_delivered()
            if self._in_room and not self.member.is_moving:
                self.resume()

    def receive_private(self, message: PrivateMessage) -> None:
        """Hold a private message until the move to another room is over; see ``MemberListener``."""
        self._held_messages.append(message)
        self.member.private_in_flight += len(message.text)

    def private_sent(self, line: PrivateLine) -> None:
        """Confirm *line* with the next input; see ``MemberListener``."""
        self._unconfirmed = line
        self.hub.private_lines.note_sent(line)
        self._interprets_lines = False

    def connection_lost(self) -> None:
        """Note that the client receives nothing any more, so lines from before confirm no private message."""
        self._is_connected = False

    def _confirm_private(self) -> None:
        """Note that the user has read the private messages so far."""
        line, self._unconfirmed = self._unconfirmed, None
        if line is not None and self._is_connected:
            self.hub.private_lines.confirm(line)

    def notify(self, text: str) -> None:
        """Send *text* as the server; see ``MemberListener``."""
        self.peer.send(ServerNotice(text))

    def disconnect(self, reason: str, notice: str) -> None:
        """Send *notice*, and end because of *reason*; see ``MemberListener``."""
        self.peer.send(ServerNotice(notice))
        self._machine.leave(reason)

    def line(self, text: str, at: float) -> None:
        """Process a line *text* (without its end) that has arrived at the time *at*, in seconds since the epoch."""
        if not self._interprets_lines:
            self._rare_line(text, at)
            return
        # The state machine would do the same and change no state. It would add 2 to 5 µs.
        try:
            commands.interpret(self, text, at)
        except RejectedError as error:
            self.send_error(error)
            self._expect_typed_ahead(text, at)

    def _rare_line(self, text: str, at: float) -> None:
        """Process a line before the room, in a password dialogue or right after it, or after a private message."""
        self._confirm_private()
        if not self._in_room:
            self._machine.line(text, at)
            return
        try:
            self._check_typed(text, at)
        except RejectedError as error:
            self.send_error(error)
        else:
            self._interprets_lines = True
            self.line(text, at)

    def _check_typed(self, text: str, at: float) -> None:
        """Raise ``RejectedError`` if the line *text* is a password, or may be one. If not, forget the passwords."""
        if self._typed_passwords is not None:
            self._typed_passwords.check(text, at)
            self._typed_passwords = None

    def _expect_typed_ahead(self, text: str, at: float) -> None:
        """If the line *text*, which was refused, would have asked for passwords: they may follow all the same."""
        if is_password_command(text):
            self._typed_passwords = TypedPasswords(at + TYPED_AHEAD_SECONDS)
            self._interprets_lines = False

    def joined(self, room: str, replay: Iterator[ReplayLine | Gap]) -> None:
        """Continue once this session is in the room; see ``MemberListener``."""
        self._machine.joined(room, replay)
        if self.ready:
            # This call can bring the next line. Therefore it comes after the transition: within it, Automat would queue
            # that line, and the session would process several lines at a time.
            self.peer.ready_for_line()

    def pause(self) -> None:
        """Accept no line until ``resume``, because the reply to this one comes later."""
        self.ready = False

    def resume(self) -> None:
        """Accept the next line."""
        self.ready = True
        self.peer.ready_for_line()

    def set_view(self, view: View) -> None:
        """Send the room's events in *view* from here on."""
        self.view = view
        self.peer.subscribe(self.room.publisher, view)

    def ask(self, dialogue: PasswordDialogue) -> None:
        """Take the next lines as the answers to *dialogue*. Raises ``RejectedError``."""
        if self._lacks_tls:
            raise NotPermitted(NEEDS_TLS)
        self._machine.ask(dialogue)

    @property
    def is_asking_password(self) -> bool:
        """Whether the next line is the answer to a question for a password."""
        return self._dialogue is not None

    def is_logging_in(self) -> bool:
        """Return whether the server is checking a password, or waits for a login with OpenID Connect in a browser."""
        return self._oidc_login is not None or (self._dialogue is not None and not self.ready)

    @property
    def _lacks_tls(self) -> bool:
        """Whether the server takes no password over this connection."""
        return self.hub.settings.passwords == "tls" and not self.source.is_safe

    def move_to(self, name: str) -> None:
        """Move to the room *name*. No line is accepted until the move is over, or has failed and changed nothing."""
        self.pause()
        # Replies to earlier lines, and private messages, are part of the old room's stream up to the barrier. After it,
        # the stream may end at any moment.
        self.member.is_moving = True
        self.room.after_barrier(partial(self._open_room, name))

    def _open_room(self, name: str) -> None:
        if self._in_room:
            self.hub.rooms.open(name, self._move)

    def _move(self, room: Room | RejectedError) -> None:
        if not self._in_room:
            return
        if isinstance(room, RejectedError):
            self._end_move()
            self.send_error(room)
            self.resume()
        else:
            old, self.room = self.room, room
            self._undelivered_leaves += 1
            old.leave(self.member, f"to {room.name}")
            room.enter(self.member)

    def _end_move(self, but: Collection[int] = ()) -> None:
        """Show the private messages that have come meanwhile, except the stored ones with the ids *but*."""
        member, messages = self.member, self._held_messages
        self._held_messages = []
        member.is_moving = False
        for message in messages:
            member.private_in_flight -= len(message.text)
            if message.line is None or message.line.id not in but:
                self.peer.send(message)
                if message.line is not None:
                    self.private_sent(message.line)

    def show_waiting(self, on_shown: Callback) -> None:
        """Send the private messages that wait for the user's account, then call *on_shown*.

        Until then, other private messages are held. No line is accepted until ``resume``.
        """
        account = self.member.account
        assert account is not None
        self.pause()
        self.member.is_moving = True
        self.hub.private_lines.read_waiting(account, partial(self._send_waiting, on_shown))

    def _send_waiting(self, on_shown: Callback, lines: Sequence[PrivateLine] | JournalError) -> None:
        if not self._in_room:
            return
        if isinstance(lines, JournalError):
            self.peer.send(ErrorReply(f"the messages that wait for you cannot be read now: {lines}"))
            self._end_move()
        else:
            self.peer.send_lazily(_waiting_notices(self.member, lines))
            self._end_move(but={line.id for line in lines})
        on_shown()

    # The outputs of the state machine; see ``session_machine.Outputs``

    def welcome(self) -> None:
        """Send the greeting, and accept the first line."""
        self.peer.send(*greeting(self.hub.settings))
        self.ready = True

    def try_nick(self, machine: Inputs, typed: str, at: float) -> None:
        """Ask the hub for the nickname in the line *typed*."""
        name = sanitize(typed)
        self._cancel_oidc_login()
        if commands.is_quit(name):
            machine.leave("")
            return
        try:
            self._check_typed(typed, at)
            if name.strip().casefold() == "/oidc":
                self._oidc_login = OidcLogin(self.hub, self.source, None, self._show_code, self._on_oidc_account)
                return
            if (login := parse_login(name)) is not None:
                self._ask_login(machine, login, at)
                return
            reject_controls(typed)
            self._admit(name, at)
        except PasswordNeeded:
            self._ask_login(machine, name.strip(), at)
        except RejectedError as error:
            self.reject_nick(machine, error)
            self._expect_typed_ahead(typed, at)

    def _ask_login(self, machine: Inputs, name: str, at: float) -> None:
        if self._lacks_tls:
            # After another question, a program that does not wait for the prompt would say the password as a nickname.
            machine.reject(f"This nickname needs a password, and {NEEDS_TLS}", None)
        else:
            machine.ask(login_dialogue(self.hub, name, self.source, partial(self._log_in, at)))

    def _log_in(self, at: float, account: Account) -> None:
        """Join as the owner of *account*."""
        try:
            self._admit(account.name, at, account)
        except RejectedError as error:
            self.reject_nick(self._machine, error)

    def _show_code(self, code: DeviceCode) -> None:
        self.peer.send(*map(ServerNotice, describe_code(code)), ServerNotice("A nickname ends this login."), _PROMPT)

    def _on_oidc_account(self, result: Account | RejectedError) -> None:
        self._oidc_login = None
        if isinstance(result, RejectedError):
            self.reject_nick(self._machine, result)
        else:
            self._log_in(self.hub.authenticator.time_of_day, result)

    def _cancel_oidc_login(self) -> None:
        login, self._oidc_login = self._oidc_login, None
        if login is not None:
            login.cancel()

    def _admit(self, name: str, at: float, account: Account | None = None) -> None:
        """Take the nickname *name*. Raises ``RejectedError``."""
        self.hub.admit(
            self.id,
            name,
            proxy(self),
            partial(self._admitted, at),
            link=self._link,
            account=account,
            source=self.source,
        )
        self.ready = False

    def _admitted(self, at: float, result: Member | RejectedError) -> None:
        """Join, or ask for another nickname, because other nodes have rejected this one."""
        if isinstance(result, Member):
            result.last_active = at
            self._machine.admit(result)
        else:
            self._machine.refuse(result)
            if self.ready:
                self.peer.ready_for_line()

    def reject_nick(self, machine: Inputs, error: RejectedError) -> None:
        """Ask for another nickname because of *error*, or leave after too many of them."""
        self._rejected_nicks += 1
        self.send_error(error)
        if self._rejected_nicks < MAX_REJECTED_NICKS:
            self.peer.send(_PROMPT)
        else:
            machine.leave(f"no nickname in {MAX_REJECTED_NICKS} tries")

    def enter_room(self, member: Member) -> None:
        """Join the room as *member*."""
        self._member = member
        self.first_nick = member.nick
        self.max_line_bytes = self.hub.settings.limits.line_bytes
        self._in_room = True
        self._interprets_lines = self._typed_passwords is None
        self.ready = False
        if member.account is None:
            self.room.enter(member)
        else:
            self.show_waiting(partial(self.room.enter, member))

    def send_replay(self, replay: Iterator[ReplayLine | Gap]) -> None:
        """Subscribe to the room, and send its state and *replay*."""
        room = self.room
        # This comes first, because the old room may still be delivering a batch to this session.
        self.peer.subscribe(room.publisher, self.view)
        self._end_move()
        nicks = (other.announced_nick for session, other in room.members.items() if session != self.id)
        named, others = tuple(islice(nicks, ARRIVAL_NAMES)), len(room.members) - 1
        if self._has_arrived:
            notices: list[Notice] = [RoomEntered(room.name, named, others)]
        else:
            notices = [JoinConfirmed(self.nick, named, others)]
        self._has_arrived = True
        if room.topic:
            notices.append(ServerNotice(f"Topic: {room.topic}"))
        self.peer.send_lazily(chain(notices, replay))
        # Until the old room has delivered the leave, it still lists this session.
        self.ready = not self._undelivered_leaves

    def begin_dialogue(self, dialogue: PasswordDialogue) -> None:
        """Ask the first question of *dialogue*."""
        if self._member is not None and self._member.cancel_login is not None:
            self._member.cancel_login()  # its end would change the account in the middle of the dialogue
            self.peer.send(CommandReply("The login with a code has ended."))
        self._in_room = self._interprets_lines = False
        self._dialogue = dialogue
        self._typed_passwords = TypedPasswords()
        self.has_asked_password = True
        if not self.source.is_safe:
            self.peer.send(ServerNotice(NOT_ENCRYPTED))
        self.peer.send(PasswordPrompt(dialogue.prompt))

    def answer(self, machine: Inputs, text: str) -> None:
        """Take *text* as the answer to the last question."""
        dialogue, typed = self._dialogue, self._typed_passwords
        assert dialogue is not None
        assert typed is not None
        self.peer.send(PasswordTyped())
        if not text:
            machine.end_dialogue()
            self.peer.send(_PROMPT if self._member is None else CommandReply("Nothing was changed."))
            return
        try:
            request = dialogue.answer(text)
            if not is_password_command(text):  # somebody may repeat it to ask again
                typed.add(text)
            if request is not None:
                request(partial(self._on_result, dialogue))
                self.pause()
                return
        except RejectedError as error:
            self.send_error(error, EMPTY_LINE_ENDS)
        self.peer.send(PasswordPrompt(dialogue.prompt))

    def reject_long_answer(self, limit: int) -> None:
        """Ask the question again after an answer of more than *limit* bytes."""
        assert self._dialogue is not None
        self.peer.send(PasswordTyped())
        self.send_error(LineTooLongError(limit), EMPTY_LINE_ENDS)
        self._dialogue.ask_again()
        self.peer.send(PasswordPrompt(self._dialogue.prompt))

    def _on_result(self, dialogue: PasswordDialogue, result: Account | RejectedError) -> None:
        """Continue with the result of *dialogue*, unless the session has ended meanwhile."""
        if self._dialogue is not dialogue:
            return
        self.ready = True
        if isinstance(result, RejectedError):
            self._wrong_passwords += isinstance(result, WrongPassword)
            if self._wrong_passwords == MAX_WRONG_PASSWORDS:
                self.send_error(result, "It was the third one: connect again for another try.")
                self._machine.leave(f"{MAX_WRONG_PASSWORDS} wrong passwords")
            else:
                self.send_error(result, EMPTY_LINE_ENDS)
                self.peer.send(PasswordPrompt(dialogue.prompt))
        else:
            self._wrong_passwords = 0
            self._go_on(dialogue, result)
        if self.ready:
            self.peer.ready_for_line()

    def _go_on(self, dialogue: PasswordDialogue, account: Account) -> None:
        """Ask the next question of *dialogue*, or end it, after a success with *account*."""
        if dialogue.has_begun:
            self.peer.send(PasswordPrompt(dialogue.prompt))
            return
        self._machine.end_dialogue()
        try:
            dialogue.finish(account)
        except RejectedError as error:
            self.send_error(error)

    def end_dialogue(self) -> None:
        """Forget the dialogue."""
        self._dialogue = None
        self._in_room = self._member is not None

    def send_error(self, error: RejectedError, advice: str = "") -> None:
        """Count *error*, and send it with *advice*."""
        self.hub.rejections[error.kind] += 1
        text = str(error)
        self.peer.send(ErrorReply(f"{text.removesuffix('.')}. {advice}" if advice else text))

    def leave_room(self, reason: str) -> None:
        """Leave all rooms because of *reason*."""
        self._in_room = self._interprets_lines = self.ready = False
        self._dialogue = None  # it refers to the session; a reference cycle would delay freeing both
        self.leave_reason = reason
        self._undelivered_leaves += 1
        self._end_move()
        is_in_room = bool(self.member.memberships)
        self.hub.remove(self.member, reason)
        if not is_in_room:  # the messages that wait for the user are being read
            self.leave_delivered("")

    def end_rejected(self, reason: str, kind: Rejection) -> None:
        """Close the connection because of *reason*, and count that as *kind*."""
        self.leave_reason = reason
        self.hub.rejections[kind] += 1
        self.close(reason)

    def close(self, text: str) -> None:
        """Send *text*, and close the connection."""
        self.ready = False
        self._dialogue = None
        self._cancel_oidc_login()
        self.peer.send(ServerNotice(text))
        self.peer.close()


def _waiting_notices(member: Member, lines: Sequence[PrivateLine]) -> Iterator[WaitingLine]:
    """Yield *lines*, except those of people whom *member* ignores. Each yielded line is sent at once."""
    for line in lines:
        if casefold_key(line.sender) not in member.ignored:
            member.last_private_sender, member.last_private_account = GONE, line.sender_account
            yield WaitingLine(line.sender, line.text, line.at)
        member.listener.private_sent(line)
