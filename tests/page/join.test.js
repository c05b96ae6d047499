import assert from "node:assert/strict";
import { test } from "node:test";

import { explain, roomOf } from "../../broadcast/doors/web/page/join.js";

test("the room is the fragment of the address", () => {
  assert.equal(roomOf("#kitchen"), "kitchen");
  assert.equal(roomOf("#Kitchen%20"), "kitchen");
  assert.equal(roomOf("#k%C3%BCche"), "küche");
  assert.equal(roomOf("#%zz"), "%zz");
  for (const hash of ["", "#", "#%20"]) assert.equal(roomOf(hash), null);
});

test("an error stands beside the field that it is about", () => {
  const fieldOf = (code) => explain({ code, message: "It is so.", data: {} }).field;
  assert.equal(fieldOf(1003), "nickname");
  for (const code of [1020, 1021, 1022, 1028]) assert.equal(fieldOf(code), "password");
  for (const code of [1004, 1024, 1026, -32600, 0, undefined]) assert.equal(fieldOf(code), "join");
});

test("an error says when another try makes sense", () => {
  assert.match(explain({ code: 1022, message: "", data: { retry: 30 } }).text, /Try again in 30 s\./);
  assert.match(explain({ code: 1028, message: "", data: {} }).text, /^The server checks too many passwords\.$/);
});
