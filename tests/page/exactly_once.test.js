// Random talk, losses, restarts and reloads: the page shows the server's lines, in their order and once each, and each
// own line is stored once.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Chat } from "../../broadcast/doors/web/page/chat.js";
import { FakeEnvironment, LIMITS, member, snapshot, welcome } from "./fakes.js";

const RUNS = 200;
const STEPS = 60;
const MOST_EVENTS = 5; // of a resumed room, so that gaps appear

/** Return a function that makes random integers below its argument, the same ones for each seed. */
function randomOf(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return Math.floor((((state ^ (state >>> 13)) >>> 0) / 2 ** 32) * below);
  };
}

/** A room on a server that follows the protocol. */
class Server {
  constructor(random) {
    this.random = random;
    this.lines = [];
    this.tokens = 0;
    this.read = new WeakMap(); // how many messages of a socket are read
    this.isSubscribed = new WeakSet();
  }

  store(nick, text, uid) {
    const known = uid && this.lines.find((line) => line.uid === uid);
    if (known) return known;
    const line = { method: "said", room: "lobby", seq: this.lines.length + 1, at: 1, nick, session: `s-${nick}`, text };
    if (uid) line.uid = uid;
    this.lines.push(line);
    return line;
  }

  /** Restart: tokens are void, lines are not. */
  restart() {
    this.tokens += 1;
  }

  /** Read and answer the messages of a socket, up to one of them. Return false at their end. */
  step(socket) {
    const index = this.read.get(socket) ?? 0;
    if (index >= socket.sent.length) return false;
    this.read.set(socket, index + 1);
    const { id, method, params } = socket.sent[index];
    const answer = (result) => socket.readyState === 1 && socket.receive({ id, result });
    if (method === "hello") {
      answer(this.greet(params));
      this.isSubscribed.add(socket);
    } else if (method === "say") {
      const before = this.lines.length;
      const line = this.store("ann", params.text, params.uid);
      const isAnswerFirst = this.random(2) === 0;
      if (isAnswerFirst) answer({ seq: line.seq, at: 1 });
      if (this.lines.length > before) this.deliver(socket, line);
      if (!isAnswerFirst) answer({ seq: line.seq, at: 1 });
    } else if (method === "history") {
      const events = this.lines.slice(params.from - 1, params.to);
      const cut = events.slice(-3); // an answer may hold fewer
      answer({ events: cut, more: cut.length < events.length });
    } else {
      answer(method === "members" ? { count: 2, members: [member("ann"), member("bob")], more: false } : {});
    }
    return true;
  }

  greet({ resume, replay }) {
    const last = this.lines.length;
    const after = resume?.rooms.lobby ?? Math.max(0, last - replay);
    const events = this.lines.slice(after);
    const newest = events.slice(-MOST_EVENTS);
    const isCut = newest.length < events.length;
    if (isCut && resume) {
      newest.unshift({ method: "gap", room: "lobby", first: after + 1, last: last - MOST_EVENTS });
    }
    const rooms = { lobby: snapshot("lobby", { last, events: newest, more: isCut }) };
    return welcome({ rooms, resumed: resume?.token === `t${this.tokens}`, token: `t${this.tokens}`, limits: LIMITS });
  }

  deliver(socket, line) {
    if (!this.isSubscribed.has(socket) || socket.readyState !== 1) return;
    if (this.random(10) === 0) socket.notify("gap", { room: "lobby", first: line.seq, last: line.seq });
    else socket.notify("said", line);
  }
}

async function run(seed) {
  const random = randomOf(seed);
  const server = new Server(random);
  let env = new FakeEnvironment();
  let chat = new Chat({ env });
  let said = 0;
  const settle = () => {
    while (env.socket.readyState === 1 && server.step(env.socket));
  };
  const connect = () => {
    for (let tries = 0; chat.state !== "open" && tries < 20; tries += 1) {
      if (env.socket.readyState === 0) env.socket.open();
      settle();
      if (chat.state !== "open") env.advance(31000);
    }
    settle();
  };
  chat.join({ nick: "ann" });
  connect();
  for (let step = 0; step < STEPS; step += 1) {
    switch (random(8)) {
      case 0:
      case 1:
        said += 1;
        chat.say("lobby", `own ${said}`);
        break;
      case 2:
      case 3:
        server.deliver(env.socket, server.store("bob", `theirs ${step}`));
        break;
      case 4:
        if (env.socket.readyState === 1) server.step(env.socket);
        break;
      case 5:
        if (env.socket.readyState === 1) {
          // What the page has sent may have been stored, and the answer is lost.
          const { socket } = env;
          socket.readyState = 3;
          while (random(2) && server.step(socket));
          socket.drop();
          if (random(4) === 0) server.restart();
        }
        break;
      case 6:
        if (random(3) === 0) {
          env.page.dispatchEvent(new Event("pagehide"));
          const { session } = env;
          const { ids } = env;
          env = new FakeEnvironment({ session });
          env.ids = ids;
          chat = new Chat({ env });
          await chat.start();
        }
        break;
      default:
        connect();
    }
  }
  connect();
  connect();
  const own = server.lines.filter((line) => line.nick === "ann").map((line) => line.text);
  assert.deepEqual(own, Array.from({ length: said }, (_, index) => `own ${index + 1}`));
  const { lines } = chat.conversations.get("lobby");
  const first = lines[0]?.seq ?? 1;
  const shown = lines.map((line) => `${line.kind} ${line.status} ${line.seq} ${line.text}`);
  const stored = server.lines.slice(first - 1).map((line) => `said stored ${line.seq} ${line.text}`);
  assert.deepEqual(shown, stored);
  assert.deepEqual(chat.outbox.items, []);
}

test("nothing is lost or doubled, whatever happens to the connection", async () => {
  for (let seed = 1; seed <= RUNS; seed += 1) {
    try {
      await run(seed);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
});
