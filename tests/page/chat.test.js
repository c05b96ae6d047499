import assert from "node:assert/strict";
import { test } from "node:test";

import { Chat, roomName, webSocketAddress } from "../../broadcast/doors/web/page/chat.js";
import { FakeChannels, FakeEnvironment, member, said, snapshot, welcome } from "./fakes.js";

const EVENTS = ["state", "nick", "conversation", "lines", "members", "topic", "unread", "problem"];

function make(options = {}) {
  const env = new FakeEnvironment(options);
  const chat = new Chat({ env });
  const events = [];
  for (const name of EVENTS) chat.addEventListener(name, (event) => events.push({ name, ...event.detail }));
  return { env, chat, events, problems: () => events.filter((one) => one.name === "problem") };
}

function join(result = welcome(), options = {}) {
  const all = make(options);
  all.joined = all.chat.join({ nick: "ann" });
  all.env.socket.open();
  all.env.socket.answer("hello", result);
  all.events.length = 0;
  return all;
}

/** Lose the connection, connect again, and return the parameters of the new hello. */
function reconnect({ env }) {
  env.socket.drop();
  env.advance(1000);
  env.socket.open();
  return env.socket.last("hello").params;
}

/** Reload the page: a new chat with the storage of the old one. */
function reload({ env }, options = {}) {
  env.page.dispatchEvent(new Event("pagehide"));
  env.document.dispatchEvent(new Event("visibilitychange"));
  return make({ session: env.session, ...options });
}

const texts = (conversation) => conversation.lines.map((line) => line.text);
const shown = (conversation) => conversation.lines.map((line) => `${line.kind} ${line.seq} ${line.status}`);
const lobby = ({ chat }) => chat.conversations.get("lobby");
const later = () => new Promise((resolve) => setImmediate(resolve));

test("the WebSocket is beside the page", () => {
  assert.equal(webSocketAddress("http://h:8080/"), "ws://h:8080/ws");
  assert.equal(webSocketAddress("https://h/chat/index.html?a#kitchen"), "wss://h/chat/ws");
});

test("a room is named as people type it", () => {
  assert.equal(roomName(" #Kitchen "), "kitchen");
});

// Joining

test("joining shows the room, its people and its lines, which are read", async () => {
  const rooms = { lobby: snapshot("lobby", { last: 2, topic: "tea", events: [said(1, "a"), said(2, "b")] }) };
  const { chat, env } = make();
  const joined = chat.join({ nick: "ann", password: "secret 1", room: "#Lobby" });
  assert.equal(chat.state, "connecting");
  env.socket.open();
  const { params } = env.socket.last("hello");
  assert.deepEqual([params.nick, params.password, params.rooms, params.resume], ["ann", "secret 1", ["lobby"], undefined]);
  env.socket.answer("hello", welcome({ rooms }));
  await joined;
  const conversation = chat.conversations.get("lobby");
  assert.equal(chat.state, "open");
  assert.deepEqual(texts(conversation), ["a", "b"]);
  assert.deepEqual([conversation.topic, conversation.unread, conversation.hasOlder], ["tea", 0, false]);
  assert.deepEqual([...conversation.members.values()].map((one) => one.nick), ["ann", "bob"]);
});

test("without a room, the server chooses it", () => {
  const { chat, env } = make();
  chat.join({ nick: "ann" });
  env.socket.open();
  assert.equal("rooms" in env.socket.last("hello").params, false);
});

for (const [code, reason, field] of [
  [1003, "nick-refused", "nick"], [1020, "password-needed", "password"], [1021, "wrong-password", "password"],
  [1022, "too-many-tries", "password"], [1004, "room-refused", "room"], [1026, "banned", "nick"],
  [1011, "going-down", ""],
]) {
  test(`a refused hello (${reason}) is a problem of the field, and the person can join again`, async () => {
    const { chat, env, problems } = make();
    const joined = chat.join({ nick: "ann" });
    env.socket.open();
    env.socket.refuse("hello", code, reason);
    await assert.rejects(joined, { code, reason });
    assert.deepEqual(problems().map((one) => [one.method, one.field]), [["hello", field]]);
    assert.equal(chat.state, "start");
    const again = chat.join({ nick: "ann2" });
    env.socket.open();
    env.socket.answer("hello", welcome({ nick: "ann2" }));
    await again;
    assert.equal(chat.nick, "ann2");
  });
}

test("joining a server that cannot be reached says so, and does not try for ever", async () => {
  const { chat, env } = make();
  const joined = chat.join({ nick: "ann" });
  env.socket.drop();
  await assert.rejects(joined, { reason: "unreachable" });
  env.advance(100000);
  assert.deepEqual([chat.state, env.sockets.length], ["start", 1]);
});

test("the nickname is remembered in the browser", () => {
  assert.equal(join(welcome({ nick: "Ann" })).chat.rememberedNick, "Ann");
});

test("a full or damaged storage keeps nobody from joining", async () => {
  const all = make();
  all.env.local.setItem("broadcast.nickname", "{");
  all.env.session.setItem("broadcast:/ws", "{");
  all.env.local.setItem = all.env.session.setItem = () => {
    throw new Error("QuotaExceededError");
  };
  assert.deepEqual([all.chat.rememberedNick, await all.chat.start()], ["", false]);
  all.chat.join({ nick: "ann" });
  all.env.socket.open();
  all.env.socket.answer("hello", welcome());
  assert.equal(all.chat.state, "open");
});

test("the password is stored nowhere", () => {
  const all = make();
  all.chat.join({ nick: "ann", password: "hunter22" });
  all.env.socket.open();
  all.env.socket.answer("hello", welcome());
  all.env.page.dispatchEvent(new Event("pagehide"));
  const stored = JSON.stringify([...all.env.local.values, ...all.env.session.values]);
  assert.ok(!stored.includes("hunter22"));
  assert.equal(reconnect(all).password, "hunter22");
});

// Own lines

test("an own line is shown at once, and becomes the stored one", async () => {
  const all = join();
  const line = await all.chat.say("lobby", "hello");
  assert.deepEqual(shown(lobby(all)), ["said null sending"]);
  const { params } = all.env.socket.last("say");
  assert.deepEqual([params.room, params.text, params.uid], ["lobby", "hello", line.uid]);
  all.env.socket.notify("said", said(1, "hello", { nick: "ann", session: "s-ann", uid: line.uid }));
  all.env.socket.answer("say", { seq: 1, at: 5 });
  assert.deepEqual(shown(lobby(all)), ["said 1 stored"]);
  assert.equal(lobby(all).unread, 0);
});

test("the answer may come before the line itself", async () => {
  const all = join();
  const line = await all.chat.emote("lobby", "waves");
  all.env.socket.answer("emote", { seq: 1, at: 5 });
  assert.deepEqual(shown(lobby(all)), ["emoted 1 stored"]);
  all.env.socket.notify("emoted", said(1, "waves", { nick: "ann", session: "s-ann", uid: line.uid }));
  assert.deepEqual(shown(lobby(all)), ["emoted 1 stored"]);
});

test("lines of others that are stored before an own one stand before it", async () => {
  const all = join();
  const line = await all.chat.say("lobby", "mine");
  all.env.socket.notify("said", said(1, "theirs"));
  all.env.socket.notify("said", said(2, "mine", { nick: "ann", session: "s-ann", uid: line.uid }));
  all.env.socket.notify("said", said(3, "later"));
  assert.deepEqual(texts(lobby(all)), ["theirs", "mine", "later"]);
});

test("a refused line says why, and can be sent again with its uid or be removed", async () => {
  const all = join();
  const line = await all.chat.say("lobby", "hello");
  all.env.socket.refuse("say", 1001, "not-kept");
  assert.deepEqual([line.status, line.reason], ["failed", "It is not-kept."]);
  all.env.socket.notify("said", said(1, "theirs"));
  all.chat.retry(line);
  assert.deepEqual([all.env.socket.last("say").params.uid, line.status], [line.uid, "sending"]);
  assert.deepEqual(texts(lobby(all)), ["theirs", "hello"]);
  all.env.socket.refuse("say", 1025, "muted");
  all.chat.discard(line);
  assert.deepEqual(texts(lobby(all)), ["theirs"]);
});

test("a line to a room that the person is not in is refused", async () => {
  const { chat } = join();
  await assert.rejects(chat.say("attic", "hello"), { reason: "not-in-room" });
});

test("lines without an answer are sent again after the next hello, with their uids", async () => {
  const all = join();
  const first = await all.chat.say("lobby", "one");
  await all.chat.say("lobby", "two");
  all.env.socket.drop();
  const third = await all.chat.say("lobby", "three");
  all.env.advance(1000);
  all.env.socket.open();
  const events = [said(1, "one", { nick: "ann", session: "s-ann", uid: first.uid })];
  all.env.socket.answer("hello", welcome({ resumed: true, rooms: { lobby: snapshot("lobby", { last: 1, events }) } }));
  const again = all.env.socket.sent.filter((one) => one.method === "say").map((one) => one.params.uid);
  assert.deepEqual(again.slice(-1), [third.uid]);
  assert.ok(!again.includes(first.uid), "the room's events have shown the first one");
  assert.deepEqual(shown(lobby(all)), ["said 1 stored", "said null sending", "said null sending"]);
});

// Lines of others

test("lines are unread unless their conversation is on the screen", () => {
  const all = join();
  all.env.socket.notify("said", said(1, "hi"));
  all.env.socket.notify("said", said(2, "hello Ann!"));
  all.env.socket.notify("said", said(3, "annual"));
  assert.deepEqual([lobby(all).unread, lobby(all).mentioned, lobby(all).readUpTo], [3, 1, 0]);
  all.chat.setView("lobby", true);
  assert.deepEqual([lobby(all).unread, lobby(all).mentioned, lobby(all).readUpTo], [0, 0, 3]);
  all.env.socket.notify("said", said(4, "ann"));
  assert.deepEqual([lobby(all).unread, lobby(all).readUpTo], [0, 4]);
  all.env.document.hidden = true;
  all.env.document.dispatchEvent(new Event("visibilitychange"));
  all.env.socket.notify("said", said(5, "ann"));
  assert.equal(lobby(all).unread, 1);
  const unread = all.events.filter((one) => one.name === "unread").map((one) => one.unread);
  assert.deepEqual(unread, [1, 2, 3, 0, 1]);
});

test("a gap is filled from the history, in its place", () => {
  const all = join();
  all.env.socket.notify("said", said(1, "1"));
  all.env.socket.notify("gap", { room: "lobby", first: 2, last: 4 });
  all.env.socket.notify("said", said(5, "5"));
  const { params } = all.env.socket.last("history");
  assert.deepEqual(params, { room: "lobby", from: 2, to: 4 });
  all.env.socket.answer("history", { events: [said(2, "2"), said(3, "3"), said(4, "4")], more: false });
  assert.deepEqual(texts(lobby(all)), ["1", "2", "3", "4", "5"]);
  assert.equal(lobby(all).unread, 5);
  all.env.advance(3000);
  assert.equal(all.env.socket.last("members").params.room, "lobby", "a gap may hide changes of members");
});

test("an answer that does not hold the whole gap is continued", () => {
  const all = join();
  all.env.socket.notify("gap", { room: "lobby", first: 1, last: 4 });
  all.env.socket.answer("history", { events: [said(3, "3"), said(4, "4")], more: true });
  assert.deepEqual(all.env.socket.last("history").params, { room: "lobby", from: 1, to: 2 });
  all.env.socket.answer("history", { events: [said(1, "1"), said(2, "2")], more: false });
  assert.deepEqual(texts(lobby(all)), ["1", "2", "3", "4"]);
});

test("a gap whose lines the server no longer has disappears", () => {
  const all = join();
  all.env.socket.notify("gap", { room: "lobby", first: 1, last: 4 });
  all.env.socket.answer("history", { events: [], more: false });
  assert.deepEqual(shown(lobby(all)), []);
});

test("at most 500 lines stay in memory, and more while older ones are on the screen", () => {
  const all = join();
  const say = (from, to) => {
    for (let seq = from; seq <= to; seq += 1) all.env.socket.notify("said", said(seq, `${seq}`));
  };
  say(1, 600);
  assert.deepEqual([lobby(all).lines.length, lobby(all).lines[0].seq, lobby(all).hasOlder], [500, 101, true]);
  all.chat.setView("lobby", false);
  say(601, 700);
  assert.equal(lobby(all).lines.length, 600);
  all.chat.setView("lobby", true);
  assert.equal(lobby(all).lines.length, 500);
});

test("own lines that are not stored stay in memory, whatever comes", async () => {
  const all = join();
  const lines = await Promise.all(Array.from({ length: 600 }, (_, index) => all.chat.say("lobby", `${index}`)));
  all.env.socket.notify("said", said(1, "theirs"));
  assert.equal(lobby(all).lines.length, 600);
  lines.forEach((line, index) => {
    const own = { nick: "ann", session: "s-ann", uid: line.uid };
    all.env.socket.notify("said", said(index + 2, line.text, own));
  });
  all.env.socket.notify("said", said(602, "theirs"));
  assert.deepEqual([lobby(all).lines.length, lobby(all).lines[0].seq], [500, 103]);
});

test("older lines come before the others", async () => {
  const rooms = { lobby: snapshot("lobby", { last: 3, events: [said(3, "3")], more: true }) };
  const all = join(welcome({ rooms }));
  assert.equal(lobby(all).hasOlder, true);
  const read = all.chat.olderThan("lobby");
  assert.deepEqual(all.env.socket.last("history").params, { room: "lobby", before: 3, count: 100 });
  all.env.socket.answer("history", { events: [said(2, "2")], more: true });
  assert.deepEqual((await read).map((line) => line.text), ["2"]);
  all.chat.olderThan("lobby");
  all.env.socket.answer("history", { events: [said(1, "1")], more: false });
  assert.deepEqual([texts(lobby(all)), lobby(all).hasOlder], [["1", "2", "3"], false]);
  assert.equal(all.events.at(-1).atStart, true);
  assert.deepEqual(await all.chat.olderThan("lobby"), []);
});

test("a place far back is read with a gap behind it, which fills from both ends", async () => {
  const rooms = { lobby: snapshot("lobby", { last: 90, events: [said(90, "90")], more: true }) };
  const all = join(welcome({ rooms }));
  const read = all.chat.around("lobby", 40, 4);
  assert.deepEqual(all.env.socket.last("history").params, { room: "lobby", after: 37, count: 4 });
  all.env.socket.answer("history", { events: [38, 39, 40, 41].map((seq) => said(seq, `${seq}`)), more: true });
  await read;
  const gaps = () => lobby(all).lines.map((line) => (line.kind === "gap" ? `${line.first}-${line.last}` : line.text));
  assert.deepEqual(gaps(), ["38", "39", "40", "41", "42-89", "90"]);
  assert.equal(lobby(all).hasOlder, true);
  all.chat.olderThan("lobby", 90, 2);
  all.env.socket.answer("history", { events: [said(88, "88"), said(89, "89")], more: true });
  assert.deepEqual(gaps(), ["38", "39", "40", "41", "42-87", "88", "89", "90"]);
  all.chat.olderThan("lobby", 88, 100);
  const rest = Array.from({ length: 50 }, (_, index) => said(38 + index, `${38 + index}`));
  all.env.socket.answer("history", { events: rest, more: true });
  assert.equal(lobby(all).lines.length, 53);
  assert.ok(lobby(all).lines.every((line, index) => line.seq === 38 + index));
});

test("search returns lines that are in no conversation", async () => {
  const all = join();
  const found = all.chat.search("lobby", "tea");
  assert.deepEqual(all.env.socket.last("search").params, { room: "lobby", words: "tea", count: 50 });
  all.env.socket.answer("search", { events: [said(7, "tea")] });
  assert.deepEqual((await found).map((line) => line.seq), [7]);
  assert.deepEqual(texts(lobby(all)), []);
});

// People

test("people come and go, by their sessions, and repetition changes nothing", () => {
  const all = join();
  const carol = { room: "lobby", nick: "carol", session: "s-carol" };
  all.env.socket.notify("joined", carol);
  all.env.socket.notify("joined", carol);
  all.env.socket.notify("renamed", { ...carol, old: "carol", nick: "caro" });
  all.env.socket.notify("away", { ...carol, nick: "caro", reason: "tea" });
  const { members } = lobby(all);
  assert.deepEqual([members.get("s-carol").nick, members.get("s-carol").away, lobby(all).count], ["caro", "tea", 3]);
  all.env.socket.notify("left", { ...carol, nick: "caro", reason: "bye" });
  all.env.socket.notify("left", { ...carol, nick: "caro", reason: "bye" });
  assert.deepEqual([members.size, lobby(all).count], [2, 2]);
  const kinds = lobby(all).lines.map((line) => [line.kind, line.text]);
  assert.deepEqual(kinds, [["joined", null], ["renamed", "carol"], ["away", "tea"], ["left", "bye"]]);
});

test("a crowd is one line, and the list of members is read again once", () => {
  const all = join();
  all.env.socket.notify("crowd", { room: "lobby", joined: 9, left: 2 });
  all.env.socket.notify("crowd", { room: "lobby", joined: 6, left: 0 });
  const [line] = lobby(all).lines;
  assert.deepEqual([line.kind, line.first, line.last], ["crowd", 9, 2]);
  all.env.advance(3000);
  assert.equal(all.env.socket.sent.filter((one) => one.method === "members").length, 1);
  all.env.socket.answer("members", { count: 2, members: [member("ann")], more: true });
  assert.equal(all.env.socket.last("members").params.after, "ann");
  all.env.socket.answer("members", { count: 2, members: [member("zoe")], more: false });
  assert.deepEqual([...lobby(all).members.values()].map((one) => one.nick), ["ann", "zoe"]);
});

test("after dropped notices, the room is read again", () => {
  const all = join();
  all.env.socket.notify("crowd", { room: "lobby", joined: 0, left: 0 });
  assert.deepEqual(all.env.socket.last("join").params, { room: "lobby", after: 0 });
  all.env.socket.answer("join", snapshot("lobby", { topic: "new" }));
  assert.deepEqual([lobby(all).topic, lobby(all).lines], ["new", []]);
});

test("the topic and announcements are shown", () => {
  const all = join();
  all.env.socket.notify("topic", { room: "lobby", nick: "bob", session: "s-bob", text: "tea" });
  all.env.socket.notify("announced", { room: null, text: "The server restarts at noon." });
  assert.equal(lobby(all).topic, "tea");
  assert.deepEqual(lobby(all).lines.map((line) => line.kind), ["topic", "announced"]);
});

test("the message of the day is shown once", () => {
  const all = join(welcome({ motd: "one\ntwo" }));
  assert.deepEqual(texts(lobby(all)), ["one", "two"]);
  reconnect(all);
  all.env.socket.answer("hello", welcome({ motd: "one\ntwo" }));
  assert.deepEqual(texts(lobby(all)), ["one", "two"]);
});

test("the own nickname changes everywhere, and is remembered", async () => {
  const all = join();
  const changed = all.chat.setNick("anna");
  all.env.socket.answer("nick", { nick: "anna" });
  await changed;
  all.env.socket.notify("renamed", { room: "lobby", old: "ann", nick: "anna", session: "s-ann" });
  assert.deepEqual([all.chat.nick, lobby(all).members.get("s-ann").nick], ["anna", "anna"]);
  all.env.socket.notify("said", said(1, "anna?"));
  assert.equal(lobby(all).mentioned, 1);
  assert.equal(all.chat.rememberedNick, "anna");
});

test("a person whom an operator has removed leaves the room, and knows why", () => {
  const all = join();
  all.env.socket.notify("left", { room: "lobby", nick: "ann", session: "s-ann", reason: "spam", by: "op" });
  assert.equal(all.chat.conversations.size, 0);
  assert.match(all.problems()[0].message, /lobby by op: spam/);
});

// Rooms

test("rooms are joined and left", async () => {
  const all = join();
  const joined = all.chat.joinRoom("#Kitchen");
  assert.equal(all.env.socket.last("join").params.room, "kitchen");
  all.env.socket.answer("join", snapshot("kitchen"));
  assert.equal((await joined).key, "kitchen");
  const left = all.chat.leaveRoom("kitchen");
  all.env.socket.answer("leave", {});
  await left;
  assert.deepEqual([...all.chat.conversations.keys()], ["lobby"]);
  const kinds = all.events.filter((one) => one.name === "conversation").map((one) => `${one.kind} ${one.key}`);
  assert.deepEqual(kinds, ["added kitchen", "removed kitchen"]);
});

test("a room that cannot be joined is a problem of the room", async () => {
  const all = join();
  const joined = all.chat.joinRoom("???");
  all.env.socket.refuse("join", 1004, "room-refused");
  await assert.rejects(joined);
  assert.deepEqual(all.problems().map((one) => [one.method, one.field]), [["join", "room"]]);
});

test("a failed request that nobody waits for is a problem, and no unhandled rejection", async () => {
  const all = join();
  all.chat.setTopic("lobby", "x");
  all.env.socket.refuse("topic", 1024, "not-permitted");
  await later();
  assert.deepEqual(all.problems().map((one) => [one.method, one.reason]), [["topic", "not-permitted"]]);
});

test("a command of the server is answered with lines", async () => {
  const all = join();
  const ran = all.chat.command("lobby", "/names");
  assert.deepEqual(all.env.socket.last("command").params, { room: "lobby", line: "/names" });
  all.env.socket.answer("command", { lines: ["2 here: ann, bob"] });
  assert.deepEqual(await ran, ["2 here: ann, bob"]);
});

test("a request without a connection is a problem", async () => {
  const all = join();
  all.env.socket.drop();
  await assert.rejects(all.chat.setTopic("lobby", "x"), { reason: "lost" });
});

// Private messages

test("a private message begins a conversation, and counts as a mention", () => {
  const all = join();
  all.env.socket.notify("told", { id: 1, nick: "Bob", session: "s-bob", at: 5, text: "psst" });
  all.env.socket.notify("told", { id: 1, nick: "Bob", session: "s-bob", at: 5, text: "psst" });
  const conversation = all.chat.conversations.get("@Bob");
  assert.deepEqual([texts(conversation), conversation.mentioned, conversation.room], [["psst"], 1, null]);
  assert.equal(all.chat.openPrivate("bob"), "@Bob", "the case of a nickname does not count");
});

test("an own private message is shown at once and delivered once", async () => {
  const all = join();
  const line = await all.chat.say(all.chat.openPrivate("bob"), "psst");
  const { params } = all.env.socket.last("tell");
  assert.deepEqual([params.to, params.text, params.uid, line.status], ["bob", "psst", line.uid, "sending"]);
  all.env.socket.answer("tell", { away: "lunch" });
  const conversation = all.chat.conversations.get("@bob");
  assert.deepEqual(conversation.lines.map((one) => [one.kind, one.text, one.status]), [
    ["told", "psst", "stored"],
    ["answer", "bob is away: lunch", "stored"],
  ]);
});

test("a private message to somebody who is not here has failed", async () => {
  const all = join();
  const line = await all.chat.tell("carol", "psst");
  all.env.socket.refuse("tell", 1006, "not-here");
  assert.deepEqual([line.status, line.reason], ["failed", "It is not-here."]);
});

test("a private conversation follows the other's nickname", () => {
  const all = join();
  all.env.socket.notify("told", { id: 1, nick: "bob", session: "s-bob", at: 5, text: "psst" });
  all.env.socket.notify("renamed", { room: "lobby", old: "bob", nick: "rob", session: "s-bob" });
  assert.deepEqual([...all.chat.conversations.keys()], ["lobby", "@rob"]);
  all.chat.say("@rob", "hi");
  assert.equal(all.env.socket.last("tell").params.to, "rob");
});

// The connection

test("a lost connection resumes where it was", () => {
  const all = join();
  all.env.socket.notify("said", said(1, "1"));
  all.env.socket.notify("told", { id: 3, nick: "bob", session: "s-bob", at: 5, text: "psst" });
  all.env.socket.drop("x");
  assert.equal(all.chat.state, "lost");
  assert.equal(all.chat.retryAt, all.env.now() + 500);
  all.env.advance(500);
  assert.equal(all.chat.state, "connecting");
  all.env.socket.open();
  assert.deepEqual(all.env.socket.last("hello").params.resume, {
    token: "t", journal: "j", rooms: { lobby: 1 }, told: 3, attempt: 1,
  });
  const events = [{ method: "gap", room: "lobby", first: 2, last: 3 }, said(4, "4")];
  all.env.socket.answer("hello", welcome({ resumed: true, rooms: { lobby: snapshot("lobby", { last: 4, events }) } }));
  all.env.socket.answer("history", { events: [said(2, "2"), said(3, "3")], more: false });
  assert.deepEqual([all.chat.state, texts(lobby(all))], ["open", ["1", "2", "3", "4"]]);
  assert.equal(reconnect(all).resume.attempt, 2);
});

test("after a long absence, the old lines leave the memory instead of a large gap", () => {
  const all = join();
  all.env.socket.notify("said", said(1, "1"));
  reconnect(all);
  const events = [{ method: "gap", room: "lobby", first: 2, last: 5000 }, said(5001, "new")];
  all.env.socket.answer("hello", welcome({ resumed: true, rooms: { lobby: snapshot("lobby", { last: 5001, events }) } }));
  assert.deepEqual([texts(lobby(all)), lobby(all).hasOlder], [["new"], true]);
});

test("a restarted server gets the rooms, and the own state again", async () => {
  const all = join();
  const away = all.chat.setAway("tea");
  all.env.socket.answer("away", {});
  await away;
  all.chat.joinRoom("kitchen");
  all.env.socket.answer("join", snapshot("kitchen"));
  const params = reconnect(all);
  assert.deepEqual([params.nick, params.rooms], ["ann", ["lobby", "kitchen"]]);
  const rooms = { lobby: snapshot(), kitchen: snapshot("kitchen") };
  all.env.socket.answer("hello", welcome({ rooms, session: "s-new", token: "t2" }));
  assert.deepEqual(all.env.socket.last("away").params, { reason: "tea" });
  assert.equal(all.chat.session, "s-new");
  assert.equal(reconnect(all).resume.told, 0);
});

test("another journal begins the numbers anew", () => {
  const all = join();
  all.env.socket.notify("said", said(7, "old"));
  reconnect(all);
  all.env.socket.refuse("hello", 1010, "other-journal");
  const { params } = all.env.socket.last("hello");
  assert.deepEqual([params.resume, params.rooms], [undefined, ["lobby"]]);
  const rooms = { lobby: snapshot("lobby", { last: 1, events: [said(1, "new")] }) };
  all.env.socket.answer("hello", welcome({ journal: "j2", rooms }));
  assert.deepEqual(texts(lobby(all)), ["new"]);
});

test("a stale attempt is repeated with a higher number", () => {
  const all = join();
  assert.equal(reconnect(all).resume.attempt, 1);
  all.env.socket.refuse("hello", 1013, "stale");
  assert.ok(all.env.socket.last("hello").params.resume.attempt > 1);
});

test("a server that is busy is tried again, when it says", () => {
  const all = join();
  reconnect(all);
  all.env.socket.refuse("hello", 1028, "busy", { retry: 7 });
  assert.deepEqual([all.chat.state, all.chat.retryAt], ["lost", all.env.now() + 7000]);
});

test("a nickname that somebody has taken meanwhile is asked for, and the rooms stay", () => {
  const all = join();
  reconnect(all);
  all.env.socket.refuse("hello", 1003, "nick-refused", { why: "taken" });
  assert.deepEqual([all.chat.state, all.problems()[0].field], ["start", "nick"]);
  all.chat.join({ nick: "ann2" });
  all.env.socket.open();
  assert.deepEqual([all.env.socket.last("hello").params.rooms], [["lobby"]]);
});

test("a room that is closed meanwhile is left out", () => {
  const all = join();
  all.chat.joinRoom("kitchen");
  all.env.socket.answer("join", snapshot("kitchen"));
  reconnect(all);
  all.env.socket.refuse("hello", 1004, "room-refused", { room: "kitchen" });
  assert.deepEqual(all.env.socket.last("hello").params.rooms, ["lobby"]);
  assert.equal(all.problems()[0].reason, "room-refused");
});

test("goodbye says when to come back", () => {
  const all = join();
  all.env.socket.notify("goodbye", { reason: "restart", reconnect: true, after: 4 });
  assert.deepEqual([all.chat.state, all.chat.retryAt, all.chat.lostReason], ["lost", all.env.now() + 4000, "restart"]);
  all.chat.reconnect();
  assert.equal(all.env.sockets.length, 2, "the person need not wait");
});

test("goodbye without a return ends the session, and its token is used no more", async () => {
  const all = join();
  all.env.socket.notify("goodbye", { reason: "resumed elsewhere", reconnect: false, after: 0 });
  assert.deepEqual([all.chat.state, /elsewhere.*another nickname/.test(all.chat.endReason)], ["ended", true]);
  all.env.advance(100000);
  assert.equal(all.env.sockets.length, 1);
  assert.equal(all.env.session.values.size, 0);
  all.chat.join({ nick: "ann2" });
  all.env.socket.open();
  const { resume, rooms } = all.env.socket.last("hello").params;
  assert.notEqual(resume.token, "t");
  assert.deepEqual([resume.rooms, rooms], [{ lobby: 0 }, ["lobby"]]);
});

test("quitting forgets everything", async () => {
  const all = join();
  const left = all.chat.quit("bye");
  assert.deepEqual(all.env.socket.last("quit").params, { reason: "bye" });
  all.env.socket.answer("quit", {});
  await left;
  assert.deepEqual([all.chat.state, all.chat.conversations.size, all.env.session.values.size], ["ended", 0, 0]);
  all.env.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(all.env.session.values.size, 0);
});

// Reload and tabs

test("a page without a saved session waits for the person", async () => {
  const { chat } = make();
  assert.equal(await chat.start(), false);
  assert.equal(chat.state, "start");
});

test("a reload resumes, and shows what the page has shown", async () => {
  const before = join();
  before.env.socket.notify("said", said(1, "seen"));
  before.chat.setView("lobby", true);
  before.chat.setView(null, false);
  before.env.socket.notify("said", said(2, "unseen"));
  before.env.socket.notify("told", { id: 4, nick: "bob", session: "s-bob", at: 5, text: "psst" });
  const after = reload(before);
  assert.equal(await after.chat.start(), true);
  assert.deepEqual(texts(after.chat.conversations.get("@bob")), ["psst"]);
  after.env.socket.open();
  const { resume, nick } = after.env.socket.last("hello").params;
  assert.deepEqual([resume, nick], [{ token: "t", journal: "j", rooms: { lobby: 0 }, told: 4, attempt: 1 }, "ann"]);
  const events = [said(1, "seen"), said(2, "unseen")];
  after.env.socket.answer("hello", welcome({ resumed: true, rooms: { lobby: snapshot("lobby", { last: 2, events }) } }));
  assert.deepEqual([after.chat.state, texts(lobby(after)), lobby(after).unread], ["open", ["seen", "unseen"], 1]);
  assert.equal(after.chat.conversations.get("@bob").unread, 1);
});

test("a reload asks for the last hundred lines of a room only", async () => {
  const events = [said(5000, "new")];
  const before = join(welcome({ rooms: { lobby: snapshot("lobby", { last: 5000, events, more: true }) } }));
  const after = reload(before);
  await after.chat.start();
  after.env.socket.open();
  assert.deepEqual(after.env.socket.last("hello").params.resume.rooms, { lobby: 4900 });
});

test("a line that is being sent survives a reload", async () => {
  const before = join();
  const line = await before.chat.say("lobby", "hello");
  const after = reload(before);
  await after.chat.start();
  after.env.socket.open();
  assert.deepEqual(shown(lobby(after)), ["said null sending"]);
  after.env.socket.answer("hello", welcome({ resumed: true }));
  assert.equal(after.env.socket.last("say").params.uid, line.uid);
});

test("a failed line survives a reload with its reason", async () => {
  const before = join();
  await before.chat.say("lobby", "hello");
  before.env.socket.refuse("say", 1025, "muted");
  const after = reload(before);
  await after.chat.start();
  const [line] = lobby(after).lines;
  assert.deepEqual([line.status, line.reason], ["failed", "It is muted."]);
});

test("a reload while the server is down keeps trying", async () => {
  const after = reload(join());
  await after.chat.start();
  after.env.socket.drop();
  assert.equal(after.chat.state, "lost");
  after.env.advance(1000);
  assert.equal(after.env.sockets.length, 2);
});

test("a reload whose session needs a password asks for it", async () => {
  const after = reload(join());
  await after.chat.start();
  after.env.socket.open();
  after.env.socket.refuse("hello", 1020, "password-needed");
  assert.deepEqual([after.chat.state, after.problems()[0].field], ["start", "password"]);
});

for (const isSecure of [true, false]) {
  const where = isSecure ? "with locks" : "without locks";

  test(`a duplicated tab notices that its session is used, and asks, ${where}`, async () => {
    const channels = new FakeChannels({ isSecure });
    const first = join(welcome(), { channels });
    const copy = { ...first.env.session, values: new Map(first.env.session.values) };
    copy.getItem = (key) => copy.values.get(key) ?? null;
    copy.removeItem = (key) => void copy.values.delete(key);
    const second = make({ session: copy, channels });
    assert.equal(await second.chat.start(), false);
    assert.deepEqual([second.chat.state, second.chat.isDuplicate, second.env.sockets.length], ["start", true, 0]);
    assert.equal(second.problems()[0].reason, "duplicate");
    second.chat.join({ nick: "ann2" });
    second.env.socket.open();
    assert.equal(second.env.socket.last("hello").params.resume, undefined);
    assert.equal(first.chat.state, "open");
  });

  test(`a duplicated tab can take the session over, ${where}`, async () => {
    const channels = new FakeChannels({ isSecure });
    const first = join(welcome(), { channels });
    const second = make({ session: first.env.session, channels });
    await second.chat.start();
    second.chat.takeOver();
    second.env.socket.open();
    assert.equal(second.env.socket.last("hello").params.resume.token, "t");
  });
}

test("a tab that crashed resumes at once if locks show that no other tab has its session", async () => {
  const before = join();
  const after = make({ session: before.env.session, channels: new FakeChannels({ isSecure: true }) });
  assert.equal(await after.chat.start(), true);
  assert.equal(after.chat.state, "connecting");
});

test("a tab that crashed resumes after a while if nobody answers without locks", async () => {
  const before = join();
  const after = make({ session: before.env.session });
  const started = after.chat.start();
  after.env.advance(1000);
  assert.equal(await started, true);
  assert.equal(after.chat.state, "connecting");
});

test("a tab releases its session when it ends", async () => {
  const channels = new FakeChannels({ isSecure: true });
  const { chat, env } = join(welcome(), { channels });
  assert.equal(channels.held.length, 1);
  env.socket.notify("goodbye", { reason: "kicked", reconnect: false, after: 0 });
  await Promise.resolve();
  assert.deepEqual([chat.state, channels.held], ["ended", []]);
});
