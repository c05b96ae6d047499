// @ts-check
// What typed text means: its lines, its command, its size, and the suggestions for the word before the caret.

/** A message with more lines than this is sent only after a question. */
export const MANY_LINES = 5;

const MOST_SUGGESTIONS = 8;
const LINE_ENDS = /\r\n|[\n\v\f\r\u0085\u2028\u2029]/;
const PASSWORD_COMMAND = /^\s*\/(register|login|passwd|drop)/i;

/** The commands that the page does itself, by each of their names. The server answers all others. */
const OWN = new Map(
  Object.entries({
    away: "away", back: "back", exit: "quit", join: "join", leave: "leave", m: "msg", me: "me", msg: "msg",
    nick: "nick", q: "quit", quit: "quit", r: "reply", reply: "reply", say: "say", tell: "msg", topic: "topic",
    w: "msg",
  }),
);

/** Commands of the server that mean nothing here. `/help` of the page leaves them out. */
const HIDDEN = new Set(
  ["timestamp", "receipts", "quiet", "ignore", "unignore", "register", "login", "oidc", "logout", "passwd", "drop"],
);

/** Return the lines of a text that hold more than blanks. @param {string} text */
export const linesOf = (text) => text.split(LINE_ENDS).filter((line) => line.trim());

const encoder = new TextEncoder();
/** Return the size of a text in bytes of UTF-8. @param {string} text */
export const byteLength = (text) => encoder.encode(text).length;

/**
 * Return what a message asks for.
 *
 * A message of several lines is said literally, so that a pasted line is never a command.
 * @param {string} text
 * @returns {{name: string, argument: string, lines: string[]}} `name` is empty if there is nothing to send,
 *   `server` for a command that the server answers, and `refused` if `argument` says why it cannot be sent.
 */
export function parse(text) {
  const lines = linesOf(text);
  const [first = ""] = lines;
  const isCommand = first.startsWith("/") && !first.startsWith("//");
  const parsed = (name, argument = "") => ({ name, argument, lines: [] });
  if (lines.some((line) => PASSWORD_COMMAND.test(line))) {
    return parsed("refused", "A line that begins like a command for passwords is not sent. Remove it.");
  }
  if (lines.length > 1 && isCommand) {
    return parsed("refused", "A command is one line. Join the lines, or begin with // to say them.");
  }
  if (lines.length === 1 && ["quit", "exit"].includes(first.trim().toLowerCase())) return parsed("quit");
  if (!isCommand) {
    const said = first.startsWith("//") ? [first.slice(1), ...lines.slice(1)] : lines;
    return { name: said.length ? "say" : "", argument: "", lines: said };
  }
  const [, verb, rest] = /** @type {RegExpExecArray} */ (/^\/(\S*) ?(.*)$/.exec(first));
  const name = OWN.get(verb.toLowerCase()) ?? "server";
  if (name === "say") return { name: rest.trim() ? "say" : "", argument: "", lines: [rest] };
  return parsed(name, name === "server" ? first.trim() : rest.trim());
}

/**
 * Return the commands in the answer to `/help`, without those that mean nothing here.
 * @param {string[]} lines Such as `/nick NAME   takes another nickname`.
 */
export function commandsOf(lines) {
  return lines.flatMap((line) => {
    const [, name, usage, help] = /^\/(\S+)(.*?)(?:\s{2,}(.*))?$/.exec(line) ?? [];
    return name && !HIDDEN.has(name) ? [{ name, usage: `/${name}${usage}`, help: help ?? "" }] : [];
  });
}

/**
 * Return the suggestions for the word before the caret, or null.
 *
 * A nickname is suggested from its second letter on, and after `@` from the first on.
 * @param {string} text
 * @param {number} caret
 * @param {Iterable<string>} nicks The other people, the likeliest first.
 * @param {{name: string, usage: string, help: string}[]} commands
 * @returns {?{from: number, words: {text: string, label: string, help: string}[]}}
 */
export function suggest(text, caret, nicks, commands) {
  if (/^\S/.test(text.slice(caret))) return null;
  const [word] = /** @type {RegExpExecArray} */ (/\S*$/.exec(text.slice(0, caret)));
  const from = caret - word.length;
  const start = word.replace(/^[@/]/, "").toLowerCase();
  const words = [];
  if (from === 0 && word.startsWith("/")) {
    for (const { name, usage, help } of commands) {
      if (!name.startsWith(start) || name === start) continue;
      words.push({ text: `/${name}${usage.includes(" ") ? " " : ""}`, label: usage, help });
    }
  } else if (word.startsWith("@") || start.length > 1) {
    const at = word.startsWith("@") ? "@" : "";
    for (const nick of nicks) {
      if (!nick.toLowerCase().startsWith(start) || nick.toLowerCase() === start) continue;
      words.push({ text: `${at}${nick}${from || at ? " " : ": "}`, label: nick, help: "" });
      if (words.length === MOST_SUGGESTIONS) break;
    }
  }
  return words.length ? { from, words: words.slice(0, MOST_SUGGESTIONS) } : null;
}

/**
 * Return the nicknames of the others in a conversation, those first who spoke last.
 * @param {{members?: Map<string, {nick: string}>, lines: {kind: string, nick?: string}[], key: string}} conversation
 * @param {string} own
 */
export function nicknamesOf(conversation, own) {
  const nicks = new Set();
  const { members, lines, key } = conversation;
  const present = new Set([...(members?.values() ?? [])].map((member) => member.nick));
  if (key.startsWith("@")) present.add(key.slice(1));
  for (let index = lines.length - 1; index >= 0; index -= 1) {
    const { nick } = lines[index];
    if (nick && present.has(nick)) nicks.add(nick);
  }
  for (const nick of present) nicks.add(nick);
  nicks.delete(own);
  return nicks;
}
