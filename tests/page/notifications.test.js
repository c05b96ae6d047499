import assert from "node:assert/strict";
import { test } from "node:test";

import { reasonAgainst, titleOf } from "../../broadcast/doors/web/page/notifications.js";

test("the title has the unread count, the conversation and the server", () => {
  assert.equal(titleOf(0, null, "Broadcast"), "Broadcast");
  assert.equal(titleOf(12, "lobby", "Broadcast"), "(12) lobby - Broadcast");
});

test("there is a reason wherever there are no notifications", () => {
  assert.match(reasonAgainst({ isSecure: false, hasApi: true, permission: "default" }), /HTTPS/);
  assert.match(reasonAgainst({ isSecure: true, hasApi: false, permission: "" }), /no notifications/);
  assert.match(reasonAgainst({ isSecure: true, hasApi: true, permission: "denied" }), /blocks/);
  for (const permission of ["default", "granted"]) {
    assert.equal(reasonAgainst({ isSecure: true, hasApi: true, permission }), "");
  }
});
