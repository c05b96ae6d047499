import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatError } from "../../broadcast/doors/web/page/connection.js";
import { Outbox } from "../../broadcast/doors/web/page/outbox.js";

function make() {
  const sent = [];
  const ended = [];
  const outbox = new Outbox(
    (method, params, done) => sent.push({ method, params, done }),
    (item, error, result) => ended.push([item.uid, error?.reason ?? null, result]),
  );
  const open = (more = {}) => {
    const lost = [];
    outbox.open({ resumed: true, linesPerSecond: null, lost: (item) => lost.push(item.uid), ...more });
    return lost;
  };
  return { sent, ended, outbox, open };
}

const error = (reason, data = {}) => new ChatError({ reason, message: reason, data });
const lost = error("lost");
const uids = (sent) => sent.map((one) => one.params.uid);

test("lines wait for the connection, and are sent in their order", () => {
  const { sent, outbox, open } = make();
  outbox.add("a", "say", { room: "lobby", text: "1" });
  outbox.add("b", "tell", { to: "bob", text: "2" });
  assert.deepEqual(sent, []);
  open();
  assert.deepEqual(sent.map(({ method, params }) => [method, params]), [
    ["say", { room: "lobby", text: "1", uid: "a" }],
    ["tell", { to: "bob", text: "2", uid: "b" }],
  ]);
});

test("what the lost connection left without an answer is sent again with its uid, and ends once", () => {
  const { sent, ended, outbox, open } = make();
  open();
  for (const uid of ["a", "b", "c"]) outbox.add(uid, "say", { room: "lobby", text: uid });
  sent[0].done(null, { seq: 1 });
  outbox.close();
  for (const { done } of sent.slice(1)) done(lost, null);
  open();
  assert.deepEqual(uids(sent), ["a", "b", "c", "b", "c"]);
  sent[3].done(null, { seq: 2 });
  sent[4].done(error("muted"), null);
  outbox.close();
  open();
  assert.equal(sent.length, 5);
  assert.deepEqual(ended, [["a", null, { seq: 1 }], ["b", null, { seq: 2 }], ["c", "muted", null]]);
});

test("a line that the room has shown is not sent again", () => {
  const { sent, ended, outbox, open } = make();
  open();
  outbox.add("a", "say", { room: "lobby", text: "x" });
  outbox.close();
  sent[0].done(lost, null);
  assert.equal(outbox.confirm("a"), true);
  open();
  assert.deepEqual([sent.length, ended, outbox.confirm("a")], [1, [], false]);
});

test("the answer to a line that the room has shown already says nothing new", () => {
  const { sent, ended, outbox, open } = make();
  open();
  outbox.add("a", "say", { room: "lobby", text: "x" });
  outbox.confirm("a");
  sent[0].done(null, { seq: 1 });
  assert.deepEqual(ended, []);
});

test("with a rate limit, only so many lines are unanswered", () => {
  const { sent, outbox, open } = make();
  open({ linesPerSecond: 2.5 });
  for (const uid of ["a", "b", "c", "d"]) outbox.add(uid, "say", { room: "lobby", text: uid });
  assert.deepEqual(uids(sent), ["a", "b"]);
  sent[1].done(null, { seq: 1 });
  assert.deepEqual(uids(sent), ["a", "b", "c"]);
  outbox.confirm("a");
  assert.deepEqual(uids(sent), ["a", "b", "c", "d"]);
});

test("at most 64 lines are unanswered", () => {
  const { sent, outbox, open } = make();
  open();
  for (let index = 0; index < 100; index += 1) outbox.add(`u${index}`, "say", { room: "lobby", text: "x" });
  assert.equal(sent.length, 64);
  outbox.close();
  for (const { done } of sent.slice()) done(lost, null);
  open();
  assert.equal(sent.length, 128);
});

test("a private message that may have arrived is not sent again in another session", () => {
  const { sent, outbox, open } = make();
  open();
  outbox.add("a", "tell", { to: "bob", text: "x" });
  outbox.close();
  sent[0].done(lost, null);
  outbox.add("b", "tell", { to: "bob", text: "y" });
  assert.deepEqual(open({ resumed: false }), ["a"]);
  assert.deepEqual(uids(sent), ["a", "b"]);
});

test("a private message is sent again in the same session, which knows its uid", () => {
  const { sent, outbox, open } = make();
  open();
  outbox.add("a", "tell", { to: "bob", text: "x" });
  outbox.close();
  sent[0].done(lost, null);
  assert.deepEqual(open({ resumed: true }), []);
  assert.deepEqual(uids(sent), ["a", "a"]);
});

test("a uid that the room knows from another nickname means that the line is stored", () => {
  const { sent, ended, outbox, open } = make();
  open();
  outbox.add("a", "say", { room: "lobby", text: "x" });
  sent[0].done(error("uid-reused", { seq: 7 }), null);
  assert.deepEqual(ended, [["a", null, { seq: 7 }]]);
});

test("after a reload, a line that was sent counts as such", () => {
  const { outbox, open } = make();
  outbox.add("a", "tell", { to: "bob", text: "x" }, true);
  assert.deepEqual(open({ resumed: false }), ["a"]);
});
