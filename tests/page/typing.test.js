import assert from "node:assert/strict";
import { test } from "node:test";

import { byteLength, linesOf, nicknamesOf, parse, suggest } from "../../broadcast/doors/web/page/typing.js";

const COMMANDS = ["nick", "names", "me"];

test("each line end separates two lines, and blank lines say nothing", () => {
  assert.deepEqual(linesOf("a\nb\r\n\r\n  \rc\u2028 d"), ["a", "b", "c", " d"]);
  assert.deepEqual(linesOf(" \n\t"), []);
});

test("a size is counted in bytes of UTF-8", () => {
  assert.equal(byteLength("é😀"), 6);
});

test("text is said, and blanks in front of it stay", () => {
  assert.deepEqual(parse("  hi / there"), { lines: ["  hi / there"] });
  assert.deepEqual(parse("one\ntwo").lines, ["one", "two"]);
});

test("two slashes say a line that begins with one", () => {
  assert.deepEqual(parse("//etc"), { lines: ["/etc"] });
  assert.deepEqual(parse("//etc\n/usr"), { lines: ["/etc", "/usr"] });
});

test("there is nothing to send in blanks", () => {
  assert.deepEqual(parse(" \n "), { lines: [] });
});

test("quit and exit leave as a whole message of any case only", () => {
  assert.equal(parse(" QUIT ").command, "/quit");
  assert.equal(parse("exit\n").command, "/quit");
  assert.equal(parse("quit it").command, undefined);
  assert.deepEqual(parse("exit\nquit"), { lines: ["exit", "quit"] });
});

test("a message of one line with a slash is a command, also behind blanks", () => {
  assert.equal(parse("/msg bob psst").command, "/msg bob psst");
  assert.equal(parse("\n /names\n").command, "/names");
});

test("a command with several lines is refused, so that no private line is said to a room", () => {
  assert.match(parse("/msg bob psst\nsecret").problem, /one line/);
});

test("a text that may hold a password is refused wherever it stands, without showing it", () => {
  for (const text of ["/register hunter2", " /passwd a hunter2", "hi\n/login bob hunter2", "/drop", "/Loginhunter2"]) {
    const { problem } = parse(text);
    assert.match(problem, /password/, text);
    assert.ok(!problem.includes("hunter2"));
  }
});

test("commands are suggested at the start of the message only", () => {
  assert.deepEqual(suggest("/n", 2, [], COMMANDS), { from: 0, words: ["/nick ", "/names "] });
  assert.equal(suggest("a /n", 4, ["nina"], COMMANDS), null);
  assert.equal(suggest("/names", 6, [], COMMANDS), null);
});

test("a nickname is suggested from its second letter on, and from the first on after @", () => {
  const nicks = ["bob", "Bobby", "ann"];
  assert.equal(suggest("b", 1, nicks, []), null);
  assert.equal(suggest("", 0, nicks, []), null);
  assert.deepEqual(suggest("bo", 2, nicks, []).words, ["bob: ", "Bobby: "]);
  assert.deepEqual(suggest("hi BO", 5, nicks, []), { from: 3, words: ["bob ", "Bobby "] });
  assert.deepEqual(suggest("@b", 2, nicks, []).words, ["@bob ", "@Bobby "]);
  assert.deepEqual(suggest("bob", 3, nicks, []).words, ["Bobby: "]);
});

test("nothing is suggested within a word, and at most eight words are", () => {
  assert.equal(suggest("bobcat", 2, ["bob"], []), null);
  const nicks = Array.from({ length: 1000 }, (_, index) => `bot${index}`);
  assert.equal(suggest("bot", 3, nicks, []).words.length, 8);
});

test("the others come in the order in which they spoke last", () => {
  const members = new Map(["ann", "bob", "carol"].map((nick) => [nick, { nick }]));
  const lines = [{ kind: "said", nick: "carol" }, { kind: "said", nick: "ann" }, { kind: "said", nick: "gone" }];
  assert.deepEqual([...nicknamesOf({ members, lines, nick: "" }, "ann")], ["carol", "bob"]);
  assert.deepEqual([...nicknamesOf({ members: new Map(), lines: [], nick: "bob" }, "ann")], ["bob"]);
});
