import assert from "node:assert/strict";
import { test } from "node:test";

import {
  byteLength, commandsOf, linesOf, nicknamesOf, parse, suggest,
} from "../../broadcast/doors/web/page/typing.js";

const words = (suggestions) => suggestions?.words.map((word) => word.text);

test("each line end separates two lines, and blank lines say nothing", () => {
  assert.deepEqual(linesOf("a\nb\r\n\r\n  \rc\u2028 d"), ["a", "b", "c", " d"]);
  assert.deepEqual(linesOf(" \n\t"), []);
});

test("a size is counted in bytes of UTF-8", () => {
  assert.equal(byteLength("é😀"), 6);
});

test("text is said, and blanks in front of it stay", () => {
  assert.deepEqual(parse("  hi / there"), { name: "say", argument: "", lines: ["  hi / there"] });
  assert.deepEqual(parse("one\ntwo").lines, ["one", "two"]);
});

test("two slashes say a line that begins with one", () => {
  assert.deepEqual(parse("//etc").lines, ["/etc"]);
  assert.deepEqual(parse("//etc\n/usr").lines, ["/etc", "/usr"]);
});

test("nothing is sent for blanks", () => {
  assert.equal(parse(" \n ").name, "");
  assert.equal(parse("/say  ").name, "");
});

test("quit and exit leave as a whole message of any case only", () => {
  assert.equal(parse(" QUIT ").name, "quit");
  assert.equal(parse("/exit tired").argument, "tired");
  assert.equal(parse("quit it").name, "say");
  assert.deepEqual(parse("exit\nquit").lines, ["exit", "quit"]);
});

test("a command has its verb in any case and its aliases", () => {
  assert.deepEqual(parse("/W bob psst "), { name: "msg", argument: "bob psst", lines: [] });
  assert.deepEqual(parse("/say /quit").lines, ["/quit"]);
  assert.deepEqual(parse("/Names"), { name: "server", argument: "/Names", lines: [] });
  assert.equal(parse("/").name, "server");
});

test("a command with several lines is refused, so that no private line is said to a room", () => {
  assert.equal(parse("/msg bob psst\nsecret").name, "refused");
});

test("a line that may hold a password is refused wherever it stands", () => {
  for (const line of ["/register hunter2", " /passwd a b", "hi\n/login bob secret", "/drop", "/LoginX"]) {
    assert.equal(parse(line).name, "refused", line);
    assert.ok(!parse(line).argument.includes("hunter2"));
  }
});

test("the commands are those of /help that mean something on the page", () => {
  const lines = ["/nick NAME   takes another nickname", "/quiet [on/off]   hides", "/ping   answers pong", "more"];
  assert.deepEqual(commandsOf(lines), [
    { name: "nick", usage: "/nick NAME", help: "takes another nickname" },
    { name: "ping", usage: "/ping", help: "answers pong" },
  ]);
});

test("commands are suggested at the start of the message only", () => {
  const commands = commandsOf(["/nick NAME   x", "/names   y", "/me TEXT  z"]);
  assert.deepEqual(words(suggest("/n", 2, [], commands)), ["/nick ", "/names"]);
  assert.equal(suggest("a /n", 4, [], commands), null);
  assert.equal(suggest("/names", 6, [], commands), null);
});

test("a nickname is suggested from its second letter on, and from the first on after @", () => {
  const nicks = ["bob", "Bobby", "ann"];
  assert.equal(suggest("b", 1, nicks, []), null);
  assert.deepEqual(words(suggest("bo", 2, nicks, [])), ["bob: ", "Bobby: "]);
  assert.deepEqual(words(suggest("hi bo", 5, nicks, [])), ["bob ", "Bobby "]);
  assert.deepEqual(words(suggest("@b", 2, nicks, [])), ["@bob ", "@Bobby "]);
  assert.deepEqual(words(suggest("bob", 3, nicks, [])), ["Bobby: "]);
});

test("nothing is suggested within a word, and at most eight words", () => {
  assert.equal(suggest("bobcat", 2, ["bob"], []), null);
  const nicks = Array.from({ length: 1000 }, (_, index) => `bot${index}`);
  assert.equal(suggest("bot", 3, nicks, []).words.length, 8);
});

test("the others come in the order in which they spoke last", () => {
  const members = new Map(["ann", "bob", "carol"].map((nick) => [nick, { nick }]));
  const lines = [{ kind: "said", nick: "carol" }, { kind: "said", nick: "ann" }, { kind: "said", nick: "gone" }];
  assert.deepEqual([...nicknamesOf({ key: "lobby", members, lines }, "ann")], ["carol", "bob"]);
  assert.deepEqual([...nicknamesOf({ key: "@bob", lines: [] }, "ann")], ["bob"]);
});
