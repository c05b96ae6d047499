import assert from "node:assert/strict";
import { test } from "node:test";

import { splitAt } from "../../broadcast/doors/web/page/search.js";

test("each second part of a text is a word that was searched", () => {
  assert.deepEqual(splitAt("The build is RED, red!", "red build"), ["The ", "build", " is ", "RED", ", ", "red", "!"]);
});

test("a phrase in double quotes stays whole", () => {
  assert.deepEqual(splitAt("the build, the red build", '"red build"'), ["the build, the ", "red build", ""]);
});

test("a word with the signs of a pattern is found as it is", () => {
  assert.deepEqual(splitAt("a.b(c)* axb", "a.b(c)*"), ["", "a.b(c)*", " axb"]);
  assert.deepEqual(splitAt("text", '"'), ["text"]);
});
