import assert from "node:assert/strict";
import { test } from "node:test";

import { roomOf } from "../../broadcast/doors/web/page/join.js";

test("the room is the fragment of the address", () => {
  assert.equal(roomOf("#kitchen"), "kitchen");
  assert.equal(roomOf("#Kitchen%20"), "kitchen");
  assert.equal(roomOf("#k%C3%BCche"), "küche");
  assert.equal(roomOf("#%zz"), "%zz");
  for (const hash of ["", "#", "#%20"]) assert.equal(roomOf(hash), null);
});
