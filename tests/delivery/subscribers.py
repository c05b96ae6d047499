"""Subscribers of one fan-out without a session, over either kind of writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from broadcast.core.events import (
    Action,
    CommandReply,
    Event,
    Gap,
    Joined,
    Left,
    Message,
    Notice,
    PrivateMessage,
    Receipt,
)
from broadcast.core.interfaces import Batch, Encoder, Override, View
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.delivery.subscriber import Subscriber
from tests.harness import TextClient, World

Kind: TypeAlias = Literal["direct", "transport"]
KINDS: tuple[Kind, ...] = ("direct", "transport")


class PlainEncoder:
    """An encoder whose output is little more than the text of an event. A quiet view hides joins."""

    def __init__(self, view: View | None = None) -> None:
        self.view = view or View()
        self.encoded: list[Event | Notice] = []

    def encode(self, event: Event | Notice) -> bytes:  # noqa: PLR0911 -- a table
        self.encoded.append(event)
        match event:
            case Message(text=text) | Action(text=text) | CommandReply(text=text):
                return f"{text}\n".encode()
            case PrivateMessage(text=text):
                return f"[{text}]\n".encode()
            case Receipt(seq=seq):
                return f"#{seq}\n".encode()
            case Gap(first=first, last=last) if first <= last:
                return f"missed {first}-{last}\n".encode()
            case Joined(nick=nick) if not self.view.quiet:
                return f"+{nick}\n".encode()
            case Left(nick=nick):
                return f"-{nick}\n".encode()
            case _:
                return b""


class SubscriberClient(TextClient):
    """A subscriber, and the other side of its connection."""

    line_end = "\n"
    world: SubscriberWorld

    def __init__(self, world: SubscriberWorld) -> None:
        super().__init__(world, world.transport(None))
        self.writer = world.writer(self.transport)
        self.writable_calls = 0
        """Number of times that the subscriber has reported room after it was congested."""
        self.subscriber = Subscriber(world.fanout, self.writer, world.encoder, self._count_writable)
        self.subscriber.session = world.hub.next_session_id()

    def _count_writable(self) -> None:
        self.writable_calls += 1

    @property
    def held_bytes(self) -> int:
        """Number of bytes that the server holds for this client alone."""
        return self.subscriber._queue.size + len(self.transport.held)

    def answer(self, *texts: str) -> None:
        """Send command replies to the client, all at once."""
        self.subscriber.send([*map(self.subscriber.encoder.encode, map(CommandReply, texts))])

    def close(self) -> None:
        """Close the connection, as a peer does, once everything up to here is sent."""
        if self.subscriber.end(self.writer.close):
            self.writer.close()
        else:
            self.writer.start_linger()

    def lose(self) -> None:
        """Lose the connection."""
        self.subscriber.discard()
        self.writer.connection_lost()

    def answer_lazily(self, *texts: str) -> None:
        """Send command replies, each of which is encoded when it can be sent."""
        self.subscriber.send_lazily(map(self.subscriber.encoder.encode, map(CommandReply, texts)))


class SubscriberWorld(World):
    """A world in which the test publishes the batches itself, to subscribers that are in no room."""

    def __init__(self, kind: Kind = "direct", replay_buffer: ReplayBuffer | None = None) -> None:
        self.direct = kind == "direct"
        super().__init__(replay_buffer=replay_buffer)
        self.encoder = PlainEncoder()
        self.delivered = 0
        """Number of batches that were offered to every subscriber."""
        self.last_seq = 0
        """Number of the last stored event."""

    def connect_subscriber(self) -> SubscriberClient:
        """Return a client that has not subscribed yet."""
        return SubscriberClient(self)

    def subscribe(self, encoder: Encoder | None = None) -> SubscriberClient:
        """Return a client that has subscribed."""
        client = self.connect_subscriber()
        client.subscriber.subscribe(encoder or self.encoder)
        return client

    def subscribers(self, count: int) -> list[SubscriberClient]:
        """Return *count* clients that have subscribed."""
        return [self.subscribe() for _ in range(count)]

    def publish(
        self, *events: str | Event, overrides: Mapping[SubscriberClient, Sequence[Override]] | None = None
    ) -> None:
        """Publish one batch, as far as this turn delivers it. A text is a message of somebody without a subscriber."""
        before = self.last_seq
        batch = [self._numbered(event) for event in events]
        by_session = {client.subscriber.session: given for client, given in (overrides or {}).items()}
        self.fanout.publish(Batch(batch, by_session, before), iter([self._count_delivered]))

    def say(self, author: SubscriberClient, text: str, *, receipt: bool = False) -> None:
        """Publish one line of *author*."""
        self.publish(text, overrides={author: [(0, Receipt(self.last_seq + 1) if receipt else None)]})

    def _numbered(self, event: str | Event) -> Event:
        if isinstance(event, str):
            event = Message(0, "eve", event, 0.0)
        if isinstance(event, Message | Action):
            self.last_seq += 1
            return replace(event, seq=self.last_seq)
        return event

    def _count_delivered(self) -> None:
        self.delivered += 1
