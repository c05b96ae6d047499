import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff, Connection } from "../../broadcast/doors/web/page/connection.js";
import { FakeEnvironment } from "./fakes.js";

function connect() {
  const env = new FakeEnvironment();
  const lost = [];
  const notifications = [];
  const connection = new Connection({
    url: "ws://chat.example/ws",
    env,
    onOpen: () => connection.ready(),
    onNotification: (...one) => notifications.push(one),
    onLost: (reason) => lost.push(reason),
    onConnecting: () => {},
  });
  connection.connect();
  return { env, connection, lost, notifications };
}

function open() {
  const all = connect();
  all.env.socket.open();
  return all;
}

test("the delay doubles up to half a minute, with full jitter", () => {
  assert.deepEqual([1, 2, 3, 4, 5, 6, 99].map((n) => backoff(n, 1)), [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
  assert.equal(backoff(3, 0.25), 1000);
});

test("the subprotocol is that of programs", () => {
  assert.equal(connect().env.socket.protocol, "broadcast.v1");
});

test("answers come in the order of the messages, several in one of them", () => {
  const { env, connection } = open();
  const seen = [];
  connection.send("first", {}, (error, result) => seen.push(result));
  connection.send("second", {}, (error) => seen.push(error.reason, error.method));
  const [first, second] = env.socket.sent;
  env.socket.receive({ id: first.id, result: 1 }, { id: second.id, error: { code: 1005, message: "x", data: { reason: "no" } } });
  assert.deepEqual(seen, [1, "no", "second"]);
});

test("a lost connection fails its requests and comes back, later with each failure", () => {
  const { env, connection, lost } = open();
  const errors = [];
  connection.send("say", {}, (error) => errors.push(error.reason));
  env.socket.drop("gone");
  assert.deepEqual([errors, lost], [["lost"], ["gone"]]);
  assert.equal(connection.retryAt, env.now() + 500);
  env.advance(500);
  assert.equal(env.sockets.length, 2);
  env.socket.drop();
  assert.equal(connection.retryAt, env.now() + 1000);
  env.advance(1000);
  env.socket.open();
  env.socket.drop();
  assert.equal(connection.retryAt, env.now() + 500, "after a success, the delays begin anew");
});

test("a request without a connection fails at once", () => {
  const { connection } = connect();
  let reason = "";
  connection.send("say", {}, (error) => (reason = error.reason));
  assert.equal(reason, "lost");
});

test("an attempt to connect that nobody answers is given up", () => {
  const { env, lost } = connect();
  env.advance(20000);
  assert.equal(lost.length, 1);
});

test("a server that is silent for long is asked, and given up without an answer", () => {
  const { env, lost } = open();
  env.advance(70000);
  assert.equal(env.socket.sent.length, 0);
  env.advance(10000);
  assert.equal(env.socket.last("ping").method, "ping");
  env.advance(9000);
  assert.deepEqual(lost, ["The server does not answer."]);
  assert.equal(env.sockets[0].readyState, 3);
});

test("any message shows that the server lives", () => {
  const { env, lost } = open();
  for (let minute = 0; minute < 5; minute += 1) {
    env.advance(60000);
    env.socket.notify("ping");
  }
  assert.equal(env.socket.sent.length, 0);
  env.advance(80000);
  env.socket.answer("ping", {});
  env.advance(20000);
  assert.deepEqual(lost, []);
});

test("after a sleep, the connection is asked at once and replaced if it is dead", () => {
  const { env, lost } = open();
  env.advance(3600000, { asleep: true });
  assert.equal(env.socket.last("ping").method, "ping");
  env.advance(9000);
  assert.equal(lost.length, 1);
  env.advance(1000);
  assert.equal(env.sockets.length, 2);
});

test("after a sleep, a connection that lives goes on", () => {
  const { env, lost } = open();
  env.advance(30000, { asleep: true });
  env.socket.answer("ping", {});
  env.advance(30000);
  assert.deepEqual([lost, env.sockets.length], [[], 1]);
});

test("the rare timers of a hidden page are no sleep", () => {
  const { env } = open();
  env.document.hidden = true;
  env.advance(60000, { asleep: true });
  env.socket.notify("ping");
  env.advance(60000, { asleep: true });
  assert.deepEqual(env.socket.sent, []);
});

for (const [target, name] of [["page", "offline"], ["page", "online"], ["document", "visibilitychange"], ["document", "resume"]]) {
  test(`the connection is asked when the browser says ${name}`, () => {
    const { env, lost } = open();
    env.advance(4000);
    env[target].dispatchEvent(new Event(name));
    env[target].dispatchEvent(new Event(name));
    assert.equal(env.socket.sent.length, 1);
    env.advance(9000);
    assert.equal(lost.length, 1);
  });
}

test("a page that waits tries at once when the network is back", () => {
  const { env } = open();
  env.socket.drop();
  env.online = false;
  env.page.dispatchEvent(new Event("offline"));
  assert.equal(env.sockets.length, 1);
  env.online = true;
  env.page.dispatchEvent(new Event("online"));
  assert.equal(env.sockets.length, 2);
});

test("a delay that the server asks for is not shortened by the browser's events", () => {
  const { env, connection } = open();
  connection.askedDelay = 5000;
  connection.drop("restart");
  env.page.dispatchEvent(new Event("online"));
  env.advance(4900);
  assert.equal(env.sockets.length, 1);
  env.advance(100);
  assert.equal(env.sockets.length, 2);
  env.socket.drop();
  assert.ok(connection.retryAt - env.now() <= 1000, "the next delay is a usual one");
});

test("a closed connection stays closed, and nothing of it is heard", () => {
  const { env, connection, notifications } = open();
  const { socket } = env;
  connection.close();
  socket.notify("said", {});
  socket.drop();
  env.advance(100000);
  assert.deepEqual([env.sockets.length, notifications], [1, []]);
});

test("a message that is no JSON ends the connection, and what follows it is not read", () => {
  const { env, notifications, lost } = open();
  env.socket.onmessage({ data: '{"method": "said"}\n{\n{"method": "left"}' });
  assert.deepEqual(notifications, [["said", {}]]);
  assert.equal(lost.length, 1);
});
