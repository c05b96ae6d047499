import assert from "node:assert/strict";
import { test } from "node:test";

import { COMMAND_NAMES, run } from "../../broadcast/doors/web/page/commands.js";

/** A chat that notes the calls of its methods. */
function makeChat(outcome) {
  const calls = [];
  const room = { key: "lobby", room: "lobby", topic: "tea", lines: [] };
  const told = (at, nick, isOwn) => ({ kind: "told", at, nick, isOwn });
  const talks = [
    { key: "@bob", lines: [told(3, "bob", false), told(9, "ann", true)] },
    { key: "@carol", lines: [told(5, "carol", false)] },
  ];
  const conversations = new Map([room, ...talks].map((one) => [one.key, one]));
  const own = { calls, conversations, find: (key) => conversations.get(key), openPrivate: (nick) => `@${nick}` };
  const results = {
    joinRoom: { key: "kitchen" },
    tell: { status: outcome, reason: "bob is not here." },
    command: ["/names   who is here", "/quiet [on/off]   hides who joins and leaves"],
  };
  return new Proxy(own, {
    get: (target, name) =>
      target[name] ??
      (name === "then" ? undefined : async (...values) => {
        calls.push([name, ...values]);
        return results[name];
      }),
  });
}

async function callsOf(line, outcome = "stored") {
  const chat = makeChat(outcome);
  const shown = await run(chat, "lobby", line);
  return { calls: chat.calls, shown };
}

test("a command calls its method of the chat, in any case and by its aliases", async () => {
  for (const [line, ...call] of [
    ["/me waves", "emote", "lobby", "waves"],
    ["/SAY /quit", "say", "lobby", "/quit"],
    ["/nick rob", "setNick", "rob"],
    ["/away", "setAway", ""],
    ["/away lunch", "setAway", "lunch"],
    ["/back", "setAway", null],
    ["/topic what to eat", "setTopic", "lobby", "what to eat"],
    ["/leave", "leaveRoom", "lobby"],
    ["/leave kitchen", "leaveRoom", "kitchen"],
    ["/q tired", "quit", "tired"],
  ]) {
    assert.deepEqual(await callsOf(line), { calls: [call], shown: undefined }, line);
  }
});

test("a room that is joined, and a person without a text, are shown", async () => {
  assert.equal((await callsOf("/join kitchen")).shown, "kitchen");
  assert.deepEqual(await callsOf("/msg bob"), { calls: [], shown: "@bob" });
});

test("a private message is said to have arrived where it was typed", async () => {
  const { calls } = await callsOf("/w bob psst psst");
  assert.deepEqual(calls[0], ["tell", "bob", "psst psst"]);
  assert.deepEqual(calls[1].slice(2), [{ kind: "answer", text: "To bob only: psst psst" }]);
});

test("a private message that is refused fails where it was typed, and leaves nothing behind", async () => {
  await assert.rejects(callsOf("/msg bob psst", "failed"), /bob is not here\./);
  const chat = makeChat("failed");
  chat.conversations.get("@bob").lines = [];
  await assert.rejects(run(chat, "lobby", "/msg bob psst"));
  assert.deepEqual(chat.calls.slice(1).map(([name]) => name), ["discard", "leaveRoom"]);
});

test("a reply goes to the author of the newest private message", async () => {
  assert.deepEqual((await callsOf("/reply yes")).calls[0], ["tell", "carol", "yes"]);
});

test("the topic is shown without a text", async () => {
  assert.equal((await callsOf("/topic")).calls[0][2].text, "Topic: tea");
});

test("the server answers all other commands as they were typed, in one block", async () => {
  for (const line of ["/names", "/history #1-#5", "/constructor", "/__proto__ x", "/"]) {
    const { calls } = await callsOf(line);
    assert.deepEqual(calls[0], ["command", "lobby", line]);
    assert.equal(calls[1][2].text.split("\n").length, 2);
  }
});

test("the help lists the commands of this page", async () => {
  const lines = (await callsOf("/help")).calls[1][2].text.split("\n");
  assert.deepEqual(lines, ["/names   who is here", "/upload   opens the dialog that shares a file"]);
});

test("an incomplete command fails with its usage", async () => {
  for (const line of ["/me", "/msg", "/nick", "/join ", "/reply", "/say  "]) {
    await assert.rejects(callsOf(line), /not complete: \//, line);
  }
});

test("all commands are known for completion", () => {
  for (const name of ["me", "msg", "join", "leave", "topic", "nick", "away", "back", "quit", "help", "names"]) {
    assert.ok(COMMAND_NAMES.includes(name), name);
  }
});
