// What typed text means: its lines, its size, and the suggestions for the word before the caret.

const MOST_SUGGESTIONS = 8;
const LONGEST_WORD = 100; // that can be completed; the search for its start takes the square of this
const LINE_ENDS = /\r\n|[\n\v\f\r\u0085\u2028\u2029]/;
const PASSWORD_COMMAND = /^\s*\/(login|register|passwd|drop)/i;
const FORM_COMMAND = /^\s*\/(login|register|passwd)\s*$/i;

/** Return the lines of a text that hold more than blanks. */
export const linesOf = (text) => text.split(LINE_ENDS).filter((line) => line.trim());

const encoder = new TextEncoder();
/** Return the size of a text in bytes of UTF-8. */
export const byteLength = (text) => encoder.encode(text).length;

/**
 * Return the lines that a message says, or its command, or the problem because of which it is not sent.
 *
 * A message of several lines is said literally, so that a pasted line is never a command.
 * @returns {{lines: string[], command?: string, problem?: string}}
 */
export function parse(text) {
  const lines = linesOf(text);
  const first = lines[0]?.trim() ?? "";
  if (lines.some((line) => PASSWORD_COMMAND.test(line)) && !FORM_COMMAND.test(text)) {
    const advice = "Type /login, /register or /passwd alone: a form asks for the password.";
    return { lines, problem: `Others could read a password in this text, so it is not sent. ${advice}` };
  }
  if (first.startsWith("//")) return { lines: [lines[0].replace("//", "/"), ...lines.slice(1)] };
  if (first.startsWith("/")) {
    if (lines.length === 1) return { lines, command: first };
    return { lines, problem: "A command is one line. Join the lines, or begin with // to say them." };
  }
  if (lines.length === 1 && /^(quit|exit)$/i.test(first)) return { lines, command: "/quit" };
  return { lines };
}

/**
 * Return the words that can complete the word before the caret, and where it begins; or null.
 *
 * A nickname is suggested from its second letter on, and after `@` from the first on.
 * @param {Iterable<string>} nicks The other people, the likeliest first.
 */
export function suggest(text, caret, nicks, commands) {
  const word = /\S*$/.exec(text.slice(Math.max(0, caret - LONGEST_WORD), caret))?.[0] ?? "";
  const from = caret - word.length;
  const mark = /^[@/]/.exec(word)?.[0] ?? "";
  const start = word.slice(mark.length).toLowerCase();
  const isCommand = mark === "/" && from === 0;
  if (/\S/.test(text.charAt(caret)) || !(isCommand || mark === "@" || (!mark && start.length > 1))) return null;
  const words = [];
  for (const name of isCommand ? commands : nicks) {
    if (!name.toLowerCase().startsWith(start) || name.toLowerCase() === start) continue;
    words.push(`${mark}${name}${from || mark ? " " : ": "}`);
    if (words.length === MOST_SUGGESTIONS) break;
  }
  return words.length ? { from, words } : null;
}

/** Return the nicknames of the others in a conversation, those first who spoke last. */
export function nicknamesOf({ members, lines, nick }, own) {
  const present = new Set(nick ? [nick] : []);
  for (const member of members.values()) present.add(member.nick);
  present.delete(own);
  const spoke = lines.map((line) => line.nick).filter((author) => present.has(author));
  return new Set([...spoke.reverse(), ...present]);
}
