// A pure function from the lines of a conversation to the rows on the screen.

import { dayName, dayOf } from "./text.js";

/** Lines of one person that are further apart than this (in seconds) show the name again. */
const GROUP_SECONDS = 300;
/** So many names are spelled out when joins and leaves are folded. */
const NAMES = 5;

const SPOKEN = new Set(["said", "told", "shared"]);
const COMING = new Set(["joined", "left", "crowd"]);
const list = new Intl.ListFormat("en-GB");

/**
 * A row: a line, several folded ones, a day, or the marker of unread lines. `key` is the same as long as the row
 * stands for the same thing. A row whose `signature` has changed has to be drawn again.
 * @typedef {{key: string|number, kind: string, line: any, isFirst: boolean, signature: string, text: string}} Row
 */

/** Return the key of a line's row. Lines that are read twice have other ids, but the same numbers. */
export function keyOf(line) {
  return line.seq ?? -line.id;
}

/**
 * Return the names as a phrase: `ann, bob and 3 others`.
 * @param {number} others People without a name.
 */
function phrase(names, others) {
  const shown = names.slice(0, names.length > NAMES + 1 ? NAMES : names.length);
  const rest = names.length - shown.length + others;
  const [one, many] = shown.length ? ["other", "others"] : ["person", "people"];
  if (rest > 0) shown.push(`${rest} ${rest === 1 ? one : many}`);
  return list.format(shown);
}

/** What a person has done, from the first and the last of their events. @type {Record<string, string>} */
const VERBS = {
  "joined joined": "joined",
  "joined left": "came and went",
  "left joined": "left and came back",
  "left left": "left",
};

/**
 * Return joins and leaves as one sentence, in the order in which they happened. A person who came and went is named
 * once.
 */
export function foldText(lines) {
  /** The last line of each person, and the kind of their first one. The latest is last. */
  const people = new Map();
  for (const line of lines) {
    const key = line.kind === "crowd" ? line.id : line.session || line.nick;
    const first = people.get(key)?.first ?? line.kind;
    people.delete(key);
    people.set(key, { line, first });
  }
  /** @type {Map<string, {nicks: string[], others: number, reason: string}>} */
  const parts = new Map();
  const partOf = (verb) => {
    if (!parts.has(verb)) parts.set(verb, { nicks: [], others: 0, reason: "" });
    return parts.get(verb);
  };
  for (const { line, first } of people.values()) {
    if (line.kind === "crowd") {
      if (line.first) partOf("joined").others += line.first;
      if (line.last) partOf("left").others += line.last;
    } else {
      const part = partOf(VERBS[`${first} ${line.kind}`]);
      part.nicks.push(line.nick);
      part.reason = line.kind === "left" && first === "left" ? line.text : "";
    }
  }
  return [...parts]
    .map(([verb, { nicks, others, reason }]) => {
      const why = nicks.length + others === 1 && reason ? `: ${reason}` : "";
      return `${phrase(nicks, others)} ${verb}${why}`;
    })
    .join("; ");
}

/**
 * Return the rows of some lines.
 * @param {any[]} lines Oldest first.
 * @param {number} now Seconds since the epoch.
 * @param {?(line: any) => boolean} isUnread The marker of unread lines stands before the first line for which this is
 *   true. Null: no marker.
 */
export function rowsOf(lines, now, isUnread) {
  /** @type {Row[]} */
  const rows = [];
  let day = -Infinity;
  let previous = null;
  let isMarked = isUnread === null;
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at];
    const row = { key: keyOf(line), kind: line.kind, line, isFirst: false, signature: "", text: "" };
    const stands = (kind, key, text = "") => {
      rows.push({ ...row, key, kind, signature: text, text });
      previous = null;
    };
    if (dayOf(line.at) > day) {
      day = dayOf(line.at);
      stands("day", `day ${day}`, dayName(line.at, now));
    }
    if (!isMarked && isUnread?.(line)) {
      isMarked = true;
      stands("unread", "unread");
    }
    if (COMING.has(line.kind)) {
      const run = [line];
      while (COMING.has(lines[at + 1]?.kind) && dayOf(lines[at + 1].at) <= day) run.push(lines[(at += 1)]);
      row.kind = "fold";
      row.text = row.signature = foldText(run);
      previous = null;
    } else {
      const isSpoken = SPOKEN.has(line.kind);
      const isSame = previous?.nick === line.nick && previous.session === line.session;
      row.isFirst = isSpoken && !(isSame && line.at - previous.at < GROUP_SECONDS);
      row.signature = `${line.status} ${line.at} ${line.nick} ${line.text}`;
      previous = isSpoken ? line : null;
    }
    rows.push(row);
  }
  return rows;
}
