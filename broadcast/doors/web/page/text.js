// Pure functions that make texts for people: links, sizes, times, and the colours and initials of nicknames.

/** The number of colour classes `nick-N` in style.css. */
export const COLOURS = 12;

const LINK = /https?:\/\/[^\s<>"'`\u0000-\u0020]+/giu;
const WORD = /[\p{L}\p{N}_-]/u;

/**
 * Return the part of a match that is the address: punctuation at the end belongs to the sentence, and a closing bracket
 * belongs to the address only if the address opens it.
 */
function trimLink(match) {
  let link = match;
  for (;;) {
    const last = link.at(-1) ?? "";
    const open = { ")": "(", "]": "[", "}": "{" }[last];
    const isLoose = open && link.split(last).length > link.split(open).length;
    if (!isLoose && !/[.,:;!?*…]/u.test(last)) return link;
    link = link.slice(0, -1);
  }
}

/**
 * Return a text with its links apart. Only `http:` and `https:` addresses become links.
 * @returns {{text: string, href?: string}[]}
 */
export function splitLinks(text) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const link = trimLink(match[0]);
    const href = URL.canParse(link) ? new URL(link) : null;
    const isBare = match.index === 0 || !WORD.test(text[match.index - 1]);
    if (!href?.hostname || !/^https?:$/.test(href.protocol) || !isBare) continue;
    if (match.index > end) pieces.push({ text: text.slice(end, match.index) });
    pieces.push({ text: link, href: href.href });
    end = match.index + link.length;
  }
  if (end < text.length) pieces.push({ text: text.slice(end) });
  return pieces;
}

/** Return the number of a nickname's colour class. It is the same on every page and in any case. */
export function colourOf(nick) {
  let hash = 2166136261;
  for (const letter of nick.toLowerCase()) {
    hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 16777619);
  }
  return ((hash ^ (hash >>> 15)) >>> 0) % COLOURS;
}

/** Return one or two letters that stand for a nickname. */
export function initialsOf(nick) {
  const words = nick.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const letters = words.length > 1 ? words.slice(0, 2).map((word) => [...word][0]) : [[...(words[0] ?? nick)][0]];
  return letters.join("").toUpperCase();
}

/** Return a regular expression that matches just this text. */
export const patternOf = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** Return a number, or the word "No", with its noun, whose plural ends in *s*. */
export const countOf = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** Return a size in the unit that reads best. */
export function sizeOf(bytes) {
  if (bytes === 1) return "1 byte";
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  let size = bytes;
  for (; size >= 999.5 && unit < units.length - 1; unit += 1) size /= 1000;
  return `${unit === 0 || size >= 10 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

// Times and days, in the time zone of the browser

// 24 hours, as on the other doors. The narrow column has no place for more.
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long" });

export function clockOf(at) {
  return clock.format(at * 1000);
}

function dateOf(at) {
  return `${day.format(at * 1000)} ${new Date(at * 1000).getFullYear()}`;
}

/** Return the day and the time. @param {number} at Seconds since the epoch. */
export function momentOf(at) {
  return `${dateOf(at)}, ${clockOf(at)}`;
}

/**
 * Return a number that is the same for all moments of one day and one more the day after.
 * @param {number} at Seconds since the epoch.
 */
export function dayOf(at) {
  const date = new Date(at * 1000);
  return Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86_400_000;
}

/**
 * Return the name of a day: *Today*, *Yesterday*, or its date.
 * @param {number} at Seconds since the epoch.
 * @param {number} now Seconds since the epoch.
 */
export function dayName(at, now) {
  const ago = dayOf(now) - dayOf(at);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  const isThisYear = new Date(at * 1000).getFullYear() === new Date(now * 1000).getFullYear();
  return isThisYear ? day.format(at * 1000) : dateOf(at);
}
