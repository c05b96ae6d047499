import assert from "node:assert/strict";
import { test } from "node:test";

import { foldText, keyOf, rowsOf } from "../../broadcast/doors/web/page/rows.js";
import { colourOf, COLOURS, dayName, initialsOf, sizeOf, splitLinks } from "../../broadcast/doors/web/page/text.js";

const NOON = new Date(2026, 5, 15, 12).getTime() / 1000;
let id = 0;

function line(kind, nick, more = {}) {
  id += 1;
  return { id, seq: kind === "said" ? id : null, kind, nick, session: nick, at: NOON, text: "", status: "stored", ...more };
}

const links = (text) => splitLinks(text).filter(({ href }) => href).map(({ text: shown }) => shown);

test("a link ends before the punctuation of its sentence", () => {
  assert.deepEqual(links("see https://a.example/b, (https://c.example/d_(e)) or http://f.example?"), [
    "https://a.example/b", "https://c.example/d_(e)", "http://f.example",
  ]);
});

test("only addresses of the web are links, and the text stays as it was", () => {
  for (const text of ["javascript:alert(1)", "data:text/html,x", "https://", "xhttps://a.example", "https://[", ""]) {
    assert.deepEqual(links(text), []);
    assert.equal(splitLinks(text).map((piece) => piece.text).join(""), text);
  }
});

test("splitting a long text takes linear time", () => {
  const text = "https://a.example/".repeat(2000) + ")".repeat(2000);
  const began = performance.now();
  splitLinks(text);
  assert.ok(performance.now() - began < 2000);
});

test("a nickname has one colour in any case, and all colours are used", () => {
  assert.equal(colourOf("Ann"), colourOf("ann"));
  const colours = new Set(Array.from({ length: 500 }, (_, n) => colourOf(`person${n}`)));
  assert.equal(colours.size, COLOURS);
});

test("initials are the first letters of one or two words", () => {
  assert.deepEqual(["ann", "Cleo_M", "a-b-c", "___", "éva"].map(initialsOf), ["A", "CM", "AB", "_", "É"]);
});

test("a size is given in the unit that reads best", () => {
  assert.deepEqual([0, 1, 999, 1000, 1234567, 26214400].map(sizeOf), [
    "0 bytes", "1 byte", "999 bytes", "1.0 kB", "1.2 MB", "26 MB",
  ]);
});

test("joins and leaves stand in the order in which they happened", () => {
  assert.equal(foldText([line("left", "ann"), line("joined", "bob")]), "ann left; bob joined");
  assert.equal(foldText([line("joined", "bob"), line("left", "ann")]), "bob joined; ann left");
  const all = [line("joined", "ann"), line("joined", "bob"), line("left", "ann"), line("left", "cleo", { text: "tired" })];
  assert.equal(foldText(all), "bob joined; ann came and went; cleo left: tired");
});

test("joins and leaves name a person once", () => {
  const all = [line("joined", "ann"), line("left", "ann"), line("left", "bob"), line("joined", "bob")];
  assert.equal(foldText(all), "ann came and went; bob left and came back");
  assert.equal(foldText([line("left", "ann", { text: "tired" })]), "ann left: tired");
  const many = Array.from({ length: 8 }, (_, n) => line("joined", `p${n}`));
  assert.equal(foldText(many), "p0, p1, p2, p3, p4 and 3 others joined");
  assert.equal(foldText([line("crowd", "", { first: 1, last: 2 })]), "1 person joined; 2 people left");
});

test("rows have the same keys after older lines have been added", () => {
  const old = [line("said", "ann"), line("said", "ann")];
  const lines = [line("said", "bob"), line("joined", "cleo"), line("said", "bob")];
  const keys = (rows) => rows.filter(({ kind }) => kind === "said").map(({ key }) => key);
  assert.deepEqual(keys(rowsOf([...old, ...lines], NOON, null)).slice(2), keys(rowsOf(lines, NOON, null)));
  assert.equal(new Set(rowsOf([...old, ...lines], NOON, null).map(({ key }) => key)).size, 7 - 1);
});

test("a clock that goes back begins no day again", () => {
  const lines = [line("said", "ann"), line("said", "ann", { at: NOON - 86400 }), line("said", "ann")];
  assert.deepEqual(rowsOf(lines, NOON, null).map(({ kind }) => kind), ["day", "said", "said", "said"]);
});

test("the marker stands before the first unread line", () => {
  const lines = [line("said", "ann"), line("said", "ann"), line("said", "ann")];
  const rows = rowsOf(lines, NOON, (one) => one.seq >= lines[1].seq);
  assert.deepEqual(rows.map(({ kind, isFirst }) => (isFirst ? `${kind}, first` : kind)), [
    "day", "said, first", "unread", "said, first", "said",
  ]);
  assert.equal(keyOf(lines[0]), lines[0].seq);
});

test("days have names", () => {
  assert.equal(dayName(NOON, NOON), "Today");
  assert.equal(dayName(NOON - 86400, NOON), "Yesterday");
  assert.match(dayName(NOON - 3 * 86400, NOON), /^Friday,? 12 June$/);
  assert.match(dayName(NOON - 366 * 86400, NOON), /14 June 2025$/);
});
