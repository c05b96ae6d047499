"""The wait for the nickname of a *ghost*: an earlier session of the same user, whose connection or node is dead.

A ghost on the node to which the user comes back is not handled here: see ``Link.has_replaced``.
"""

from __future__ import annotations

from typing import Final

from broadcast.core.directory import Return
from broadcast.core.errors import NoAnswer, RejectedError
from broadcast.core.interfaces import Callback, CallLater
from broadcast.core.membership import Member
from broadcast.core.other_nodes import OtherNodes

NOTICE_SECONDS: Final = 0.7
"""Time without an answer, in seconds, after which the user reads why the nickname takes so long."""
MAX_TRIES: Final = 3
"""Maximum number of messages to the node of the ghost.

Each waits 5 seconds for its answer. Together, they wait longer than the 10 seconds of the lease of a dead node.
"""


def may_be_ghost(owner: Member, newcomer: Member) -> bool:
    """Return whether *owner* of a nickname may be a ghost of the user of *newcomer*, who has the same IP address.

    Programs have no link: they come back to their session with a token.
    """
    address = newcomer.source.address
    return owner.is_remote and newcomer.link is not None and address is not None and owner.source.address == address


class GhostReturn:
    """The wait of *member* for the nickname of *ghost*, which is on another node.

    If the connection of the ghost is dead, its node ends the ghost. If that node is dead, the other nodes remove it
    together with the ghost. After that, or if the ghost keeps the nickname, *on_end* is called once.
    """

    def __init__(
        self, others: OtherNodes, member: Member, ghost: Member, call_later: CallLater | None, on_end: Callback
    ) -> None:
        self._others = others
        self._member = member
        self._ghost = ghost
        self._call_later = call_later
        self._on_end = on_end
        self._tries = 0
        self._has_ended = False

    def run(self) -> None:
        """Ask the node of the ghost to end it."""
        self._others.call_after_leave(self._ghost.id, self._end)
        self._ask()
        if self._call_later is not None:
            self._call_later(NOTICE_SECONDS, self._notify)

    def _ask(self) -> None:
        self._tries += 1
        self._others.send(Return(self._ghost.id, self._member.source.address or ""), self._on_answer)

    def _on_answer(self, error: RejectedError | None) -> None:
        if self._has_ended:
            return
        if isinstance(error, NoAnswer) and self._tries < MAX_TRIES:
            self._ask()
            return
        if error is None:
            self._others.person_left(self._ghost.id, self._ghost.nick)
        self._end()

    def _notify(self) -> None:
        if not self._has_ended:
            self._member.listener.notify(
                f"The server that has {self._ghost.nick} does not answer. "
                "Wait for the nickname: it is free within 15 seconds."
            )

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._others.cancel_call_after_leave(self._ghost.id, self._end)
            self._on_end()
