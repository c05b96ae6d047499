import assert from "node:assert/strict";
import { test } from "node:test";

import { inOrder, stateOf } from "../../broadcast/doors/web/page/sidebar.js";

test("a person is away with the reason, or idle from five minutes on", () => {
  const state = (away, seconds) => stateOf({ away, since: 10_000 }, 10_000 + seconds);
  assert.equal(state(null, 299), "");
  assert.equal(state(null, 300), "idle 5 min");
  assert.equal(state(null, 7199), "idle 1 h");
  assert.equal(state("lunch", 0), "away: lunch");
  assert.equal(state("", 9999), "away");
});

test("rooms stand before private conversations, both by name", () => {
  const rooms = ["lobby", "build-10", "build-9"].map((key) => ({ key, room: key }));
  const talks = ["@bob", "@Ann"].map((key) => ({ key, room: null }));
  const order = inOrder([talks[0], rooms[0], talks[1], rooms[1], rooms[2]]).map(({ key }) => key);
  assert.deepEqual(order, ["build-9", "build-10", "lobby", "@Ann", "@bob"]);
});
