// @ts-check
// A pure function from the lines of a conversation to the rows on the screen.

import { dayName, dayOf } from "./times.js";

/** Lines of one person that are further apart than this (in seconds) show the name again. */
const GROUP_SECONDS = 300;
/** So many names are spelled out when joins and leaves are folded. */
const NAMES = 5;

const SPOKEN = new Set(["said", "told", "shared"]);
const COMING = new Set(["joined", "left", "crowd"]);

/**
 * A row: a line, several folded ones, a day, or the marker of unread lines. `key` is the same as long as the row
 * stands for the same thing. A row whose `signature` has changed has to be drawn again.
 * @typedef {{key: any, kind: string, line: any, isFirst: boolean, signature: string, text: string}} Row
 */

/**
 * Return the names as a phrase: `ann, bob and 3 others`.
 * @param {string[]} names
 * @param {number} others People without a name.
 */
function phrase(names, others) {
  const shown = names.slice(0, names.length > NAMES + 1 ? NAMES : names.length);
  const rest = names.length - shown.length + others;
  if (rest > 0) {
    const word = rest === 1 ? (shown.length ? "other" : "person") : shown.length ? "others" : "people";
    shown.push(`${rest} ${word}`);
  }
  return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}` : shown[0];
}

/**
 * Return joins and leaves as one sentence. A person who came and went is named once.
 * @param {any[]} lines
 */
export function foldText(lines) {
  const ways = new Map();
  const crowd = { joined: 0, left: 0 };
  let reason = null;
  for (const line of lines) {
    if (line.kind === "crowd") {
      crowd.joined += line.first;
      crowd.left += line.last;
      continue;
    }
    const person = line.session || line.nick;
    const way = ways.get(person) ?? { nick: line.nick, first: line.kind, last: line.kind };
    ways.set(person, { ...way, nick: line.nick, last: line.kind });
    if (line.kind === "left") reason = line.text;
  }
  const people = [...ways.values()];
  const names = (first, last) =>
    people.filter((way) => way.first === first && way.last === last).map((way) => way.nick);
  const left = names("left", "left");
  const withReason = left.length === 1 && crowd.left === 0 && reason ? `left: ${reason}` : "left";
  return [
    [names("joined", "joined"), crowd.joined, "joined"],
    [names("joined", "left"), 0, "came and went"],
    [names("left", "joined"), 0, "left and came back"],
    [left, crowd.left, withReason],
  ]
    .filter(([nicks, others]) => nicks.length + others > 0)
    .map(([nicks, others, verb]) => `${phrase(nicks, others)} ${verb}`)
    .join("; ");
}

/**
 * Return the rows of some lines.
 * @param {any[]} lines Oldest first.
 * @param {{now: number, unreadAfter: ?number}} view The time, and the number of the last line that was read before
 *   the marker of unread lines; null for no marker.
 * @returns {Row[]}
 */
export function rowsOf(lines, { now, unreadAfter }) {
  const rows = [];
  let day = -Infinity;
  let previous = null;
  let isMarked = unreadAfter === null;
  const push = (key, kind, line, signature, text = "", isFirst = false) =>
    rows.push({ key, kind, line, isFirst, signature, text });
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at];
    if (line.at && dayOf(line.at) > day) {
      day = dayOf(line.at);
      const name = dayName(line.at, now);
      push(`day ${day}`, "day", line, name, name);
      previous = null;
    }
    if (!isMarked && line.seq > unreadAfter && line.kind !== "gap") {
      isMarked = true;
      push("unread", "unread", line, "");
      previous = null;
    }
    if (COMING.has(line.kind)) {
      const run = [line];
      while (
        COMING.has(lines[at + 1]?.kind) &&
        (!lines[at + 1].at || dayOf(lines[at + 1].at) <= day)
      ) {
        run.push(lines[(at += 1)]);
      }
      const text = foldText(run);
      push(line, "fold", line, text, text);
      previous = null;
    } else {
      const isSpoken = SPOKEN.has(line.kind);
      const isFirst = !(
        isSpoken &&
        previous &&
        previous.nick === line.nick &&
        previous.session === line.session &&
        line.at - previous.at < GROUP_SECONDS
      );
      push(line, line.kind, line, `${line.status} ${line.at} ${line.nick} ${line.text}`, "", isFirst);
      previous = isSpoken ? line : null;
    }
  }
  return rows;
}
