"""The order of the mutes and slow modes that operators on several nodes of a cluster decide. No I/O.

A node carries out a decision of its own operator at once, and one of another node as soon as its users can read of it.
So each node may carry out decisions about the same person or room in another order. But all nodes *receive* the
decisions, their own ones included, in the order of the database. The last one received holds everywhere.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from broadcast.core.decisions import LastingDecision
from broadcast.core.moderation import Moderation

MAX_RECEIVED: Final = 1000
"""Maximum number of received decisions that are remembered until the streams of the rooms announce them."""


class DecisionOrder:
    """The decisions about *moderation* that this node has made, received, or read in the streams of its rooms."""

    def __init__(self, moderation: Moderation) -> None:
        self._moderation = moderation
        self._own: dict[str, list[int]] = {}
        """The numbers of the decisions of this node that it has not received yet, by ``LastingDecision.key``.

        This node has carried out the last one of each list. Other nodes' decisions that it receives come before it.
        """
        self._received: deque[int] = deque(maxlen=MAX_RECEIVED)
        """The numbers of the decisions that were received last."""

    def forget_all(self) -> None:
        """Forget all decisions, because the node starts anew."""
        self._own.clear()
        self._received.clear()

    def begin(self, decision: LastingDecision) -> None:
        """Note that this node has made *decision*, and will receive it, unless ``end`` is called."""
        self._own.setdefault(decision.key, []).append(decision.number)

    def end(self, decision: LastingDecision) -> bool:
        """Do not wait for *decision* any more. Return whether it is one of this node that was waited for."""
        numbers = self._own.get(decision.key, [])
        if decision.number not in numbers:
            return False
        numbers.remove(decision.number)
        if not numbers:
            del self._own[decision.key]
        return True

    def receive(self, decision: LastingDecision) -> None:
        """Carry out *decision*, which comes in the order of the database, unless one of this node comes later."""
        self._received.append(decision.number)
        if not self.end(decision) and decision.key not in self._own:
            self._moderation.carry_out(decision)

    def read(self, decision: LastingDecision) -> None:
        """Carry out *decision*, which the stream of a room announces, unless a later one may hold already.

        That is so if *decision* was received before, or while this node has not received its own decision about the
        same. In the second case, ``receive`` carries out the later one.
        """
        if decision.number not in self._received and decision.key not in self._own:
            self._moderation.carry_out(decision)
