"""A peer merges the notices of a session and the events of the room into one stream, until it is closed or lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from broadcast.core.events import CommandReply, Event, Gap, Joined, Message, Notice, Receipt, ServerNotice
from broadcast.core.interfaces import Batch, Override, Peer, View
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.peer import StreamPeer
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.delivery.subscriber import LAZY_CHUNK_BYTES
from tests.harness import TOKEN_BYTES, SessionClient, SocketTransport, World

_peer: type[Peer] = StreamPeer

JOINED, HI = Joined(8, "eve"), Message(8, "eve", "hi", 0.0, 1)


@pytest.fixture
def client() -> SessionClient:
    """A client whose peer has not subscribed, and whose session has not started."""
    return SessionClient(World())


def publish(client: SessionClient, *events: Event, own: list[Override] | None = None) -> None:
    """Publish a batch. The client is the author of the events with an override in *own*."""
    client.world.fanout.publish(Batch(events, {client.session.id: own} if own else {}), iter(()))


def sends(client: SessionClient) -> int:
    """Return the number of times that bytes were offered to the client's socket."""
    assert isinstance(client.transport, SocketTransport)
    return client.transport.socket.offers


def test_notices_of_one_call_are_sent_at_once(client: SessionClient) -> None:
    client.peer.send(CommandReply("one"), CommandReply("two"))
    client.peer.send()
    client.peer.send_bytes(b"")
    assert client.read() == [CommandReply("one"), CommandReply("two")]
    client.peer.send_bytes(b"raw")
    assert client.transport.sent == b"raw"
    assert sends(client) == 2


def test_lazy_notices_are_made_when_they_can_be_sent_in_few_sends(client: SessionClient) -> None:
    made: list[CommandReply] = []

    def notices() -> Iterator[CommandReply]:
        for number in range(30_000):
            made.append(CommandReply(str(number)))
            yield made[-1]

    client.stop_reading()
    client.peer.send_lazily(notices())
    assert len(made) < 2 * LAZY_CHUNK_BYTES // TOKEN_BYTES + 2
    client.read_on()
    assert client.read() == made
    assert len(made) == 30_000
    assert sends(client) < 30


def test_session_and_room_share_one_stream_from_subscription_on(client: SessionClient) -> None:
    publish(client, Message(8, "eve", "before", 0.0, 1))
    client.peer.subscribe(client.world.fanout, View())
    client.peer.send(CommandReply("1"))
    publish(client, JOINED, HI)
    client.peer.send(CommandReply("2"))
    assert client.read() == [CommandReply("1"), JOINED, HI, CommandReply("2")]


def test_second_subscription_changes_the_view(client: SessionClient) -> None:
    client.peer.subscribe(client.world.fanout, View())
    client.peer.subscribe(client.world.fanout, View(quiet=True))
    publish(client, HI)
    assert client.views == [View(), View(), View(quiet=True)]
    assert client.peer._subscriber.encoder is client.world.token_encoder(View(quiet=True))
    assert client.read() == [HI]


# From room to room


def said(number: int) -> Message:
    return Message(8, "eve", str(number), 0.0, number)


def another_room(client: SessionClient, events: int = 8) -> Fanout:
    """Return the fan-out of another room, whose replay buffer holds so many *events*."""
    return Fanout(client.world.dispatcher, ReplayBuffer(max_events=events))


def say(room: Fanout, number: int, own: Mapping[SessionClient, Event | Notice] | None = None) -> None:
    """Publish a line in *room*. Each client in *own* receives something else in its place."""
    overrides = {client.session.id: [(0, notice)] for client, notice in (own or {}).items()}
    room.publish(Batch([said(number)], overrides, number - 1), iter(()))


def test_client_that_reads_moves_at_once(client: SessionClient) -> None:
    world, kitchen = client.world, another_room(client)
    client.peer.subscribe(world.fanout, View())
    say(world.fanout, 1)
    client.peer.send(CommandReply("welcome"))
    client.peer.subscribe(kitchen, View())
    assert (client.peer.congested, client.peer.lagging, world._soon) == (False, False, []), "no other turn is used"
    say(world.fanout, 2)
    say(kitchen, 10, {client: Receipt(10)})
    say(kitchen, 11)
    client.peer.subscribe(kitchen, View(quiet=True))
    client.peer.subscribe(world.fanout, View())
    say(kitchen, 12)
    say(world.fanout, 3)
    assert client.read() == [said(1), CommandReply("welcome"), Receipt(10), said(11), said(3)]


@pytest.mark.parametrize("bytes_read", range(0, 12 * TOKEN_BYTES, 3))
@pytest.mark.parametrize("later", [False, True], ids=["at once", "on draining"])
def test_client_that_lags_receives_the_rooms_one_after_the_other(
    client: SessionClient, bytes_read: int, later: bool
) -> None:
    world, kitchen = client.world, another_room(client)
    client.peer.subscribe(world.fanout, View())
    client.stop_reading(0 if later else bytes_read)
    say(world.fanout, 1)
    say(world.fanout, 2, {client: Receipt(2)})
    client.peer.send(CommandReply("you are in kitchen"))
    client.peer.subscribe(kitchen, View())
    say(world.fanout, 3)
    say(kitchen, 10)
    client.peer.send(CommandReply("pong"))
    say(kitchen, 11, {client: Receipt(11)})
    if later:
        client.read_on(bytes_read)
    client.peer.subscribe(world.fanout, View())
    say(world.fanout, 4, {client: Receipt(4)})
    say(world.fanout, 5)
    client.read_on()
    say(world.fanout, 6)
    client.peer.send(CommandReply("bye"))
    expected = [said(1), Receipt(2), CommandReply("you are in kitchen"), said(10), CommandReply("pong"), Receipt(11)]
    assert client.read() == [*expected, Receipt(4), said(5), said(6), CommandReply("bye")]
    assert (client.peer.congested, client.peer.lagging, world.dispatcher.lagging_count) == (False, False, 0)


def test_client_that_lags_misses_what_either_replay_buffer_has_dropped(client: SessionClient) -> None:
    pantry, kitchen = another_room(client, 2), another_room(client, 2)
    say(kitchen, 9)
    client.peer.subscribe(pantry, View())
    say(pantry, 1)
    client.stop_reading()
    for number in range(2, 6):
        say(pantry, number)
    client.peer.subscribe(kitchen, View())
    for number in range(6, 9):
        say(pantry, number)
    for number in range(10, 15):
        say(kitchen, number)
    client.read_on()
    assert client.read() == [said(1), said(2), Gap(3, 5), Gap(10, 12), said(13), said(14)]


def test_client_that_waits_for_two_earlier_rooms_is_congested(client: SessionClient) -> None:
    """Otherwise a client that does not read could hold the replay buffers of any number of rooms in memory."""
    world, kitchen = client.world, another_room(client)
    client.peer.subscribe(world.fanout, View())
    client.stop_reading()
    say(world.fanout, 1)
    congested = [client.peer.congested]
    client.peer.subscribe(kitchen, View())
    congested.append(client.peer.congested)
    client.peer.subscribe(world.fanout, View())
    congested.append(client.peer.congested)
    assert congested == [False, False, True]
    calls: list[str] = []
    client.peer.when_writable(lambda: calls.append("writable"))
    assert (calls, client.ready_calls) == ([], 1)
    client.read_on(1)
    assert (calls, client.ready_calls) == ([], 1)
    client.read_on()
    assert (calls, client.ready_calls) == (["writable"], 3), "one more for the room that ended last"


def test_batch_in_delivery_reaches_the_client_that_moves_before_its_turn(client: SessionClient) -> None:
    world, kitchen = client.world, another_room(client)
    client.peer.subscribe(world.fanout, View())
    world.tick = SLICE_SECONDS
    world.fanout.publish(Batch([said(1)], {}), iter(()), [lambda: None] * 3)
    client.peer.subscribe(kitchen, View())
    world.settle()
    say(world.fanout, 2)
    say(kitchen, 10)
    world.settle()
    assert client.read() == [said(1), said(10)]


@pytest.mark.parametrize("lost", [False, True])
def test_client_that_ends_while_an_earlier_room_waits(client: SessionClient, lost: bool) -> None:
    world, kitchen = client.world, another_room(client)
    client.peer.subscribe(world.fanout, View())
    client.stop_reading()
    say(world.fanout, 1)
    client.peer.subscribe(kitchen, View())
    say(kitchen, 10)
    if lost:
        client.peer.connection_lost()
        assert (client.peer.congested, world.dispatcher.lagging_count) == (False, 0)
    else:
        client.peer.close()
        assert len(world.clock.getDelayedCalls()) == 1, "the linger time-out"
    say(kitchen, 11)
    client.read_on()
    assert client.transport.finished is not lost
    if not lost:
        assert client.read() == [said(1), said(10)]


# The end


def test_door_is_asked_for_the_next_line(client: SessionClient) -> None:
    client.peer.ready_for_line()
    assert client.ready_calls == 1


def test_closed_peer_has_sent_everything_and_accepts_nothing_more(client: SessionClient) -> None:
    client.peer.subscribe(client.world.fanout, View())
    client.peer.send(ServerNotice("Goodbye."))
    client.peer.close()
    publish(client, HI)
    client.peer.send(CommandReply("too late"))
    client.peer.close()
    assert client.read() == [ServerNotice("Goodbye.")]
    assert (client.transport.finished, client.closed) == (True, True)
    assert len(client.world.clock.getDelayedCalls()) == 1, "the linger time-out"


def test_lost_peer_accepts_every_call_and_sends_nothing(client: SessionClient) -> None:
    client.peer.subscribe(client.world.fanout, View())
    client.peer.connection_lost()
    publish(client, HI)
    publish(client, Message(client.session.id, "ann", "x", 0.0, 2), own=[(0, Receipt(2))])
    client.peer.send(CommandReply("hi"))
    client.peer.send_lazily(iter([CommandReply("hi")]))
    client.peer.send_bytes(b"hi")
    client.peer.subscribe(client.world.fanout, View(times=True))
    publish(client, HI)
    client.peer.close()
    assert client.transport.sent == b""
    assert (client.transport.finished, client.closed) == (False, True)


def test_client_that_reads_is_never_congested_and_is_called_at_once(client: SessionClient) -> None:
    client.peer.send(*[CommandReply("x")] * 50_000)
    calls: list[str] = []
    client.peer.when_writable(lambda: calls.append("writable"))
    assert not client.peer.congested
    assert (calls, client.ready_calls) == (["writable"], 0)


def test_congested_peer_calls_once_when_it_is_writable_again(client: SessionClient) -> None:
    calls: list[str] = []
    client.congest()
    client.peer.when_writable(lambda: calls.append("writable"))
    assert (calls, client.ready_calls) == ([], 1), "the door hears of the congestion"
    client.read_on()
    assert (calls, client.ready_calls) == (["writable"], 2), "and of its end"
    client.congest()
    client.read_on()
    assert (calls, client.ready_calls) == (["writable"], 3)


def test_any_number_of_pages_is_sent_while_the_client_reads(client: SessionClient) -> None:
    left = 5000

    def send_page() -> None:
        nonlocal left
        left -= 1
        if left:
            client.peer.when_writable(send_page)

    client.peer.when_writable(send_page)
    assert left == 0


def test_peer_congested_before_its_turn_calls_when_it_is_writable(client: SessionClient) -> None:
    calls: list[str] = []

    def step() -> bool:
        client.peer.when_writable(lambda: calls.append("writable"))
        client.congest()
        return False

    client.world.dispatcher.schedule(step)
    assert calls == []
    client.read_on()
    assert calls == ["writable"]


def test_lost_peer_keeps_no_call_waiting(client: SessionClient) -> None:
    calls: list[str] = []

    def note(text: str) -> Callable[[], None]:
        return lambda: calls.append(text)

    client.congest()
    client.peer.when_writable(note("lost while waiting"))
    client.peer.connection_lost()
    client.peer.when_writable(note("lost before"))
    assert calls == ["lost while waiting", "lost before"]
