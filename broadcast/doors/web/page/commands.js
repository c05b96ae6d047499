// @ts-check
// The commands that a person types. Those that are not here go to the server's method `command`.

/** @typedef {import("./chat.js").Chat} Chat */

const PASSWORDS = "Passwords are not typed here, where others may read them.";

/** @type {Record<string, (chat: Chat, key: string, text: string) => any>} */
const COMMANDS = {
  me: (chat, key, text) => chat.emote(key, text),
  msg(chat, key, text) {
    const [, nick = "", words = ""] = text.match(/^(\S+)\s*(.*)$/) ?? [];
    if (!nick) return usage(chat, key, "/msg NICKNAME TEXT");
    return words ? chat.tell(nick, words) : chat.openPrivate(nick);
  },
  reply(chat, key, text) {
    if (!chat.lastPrivate) return chat.answer(key, "Nobody has written to you yet.");
    return chat.tell(chat.lastPrivate, text);
  },
  join: (chat, key, room) => (room ? chat.joinRoom(room) : usage(chat, key, "/join ROOM")),
  leave(chat, key, text) {
    const [name, ...reason] = text.split(" ");
    return name && chat.find(name) ? chat.leaveRoom(name, reason.join(" ")) : chat.leaveRoom(key, text);
  },
  topic(chat, key, text) {
    if (text) return chat.setTopic(key, text);
    const topic = chat.find(key)?.topic;
    return chat.answer(key, topic ? `Topic: ${topic}` : "There is no topic. /topic TEXT sets one.");
  },
  nick: (chat, key, nick) => (nick ? chat.setNick(nick) : chat.answer(key, `You are ${chat.nick}.`)),
  away: (chat, _key, reason) => chat.setAway(reason),
  back: (chat) => chat.setAway(null),
  ignore(chat, key, nick) {
    if (!nick) return chat.answer(key, `You ignore ${[...chat.ignored.values()].join(", ") || "nobody"}.`);
    chat.ignored.set(nick.toLowerCase(), nick);
    return chat.answer(key, `You ignore ${nick} until you leave. /unignore ${nick} ends that.`);
  },
  unignore(chat, key, nick) {
    const was = chat.ignored.delete(nick.toLowerCase());
    return chat.answer(key, was ? `You no longer ignore ${nick}.` : `You do not ignore ${nick}.`);
  },
  logout: (chat) => chat.request("logout", {}),
  quit: (chat, _key, reason) => chat.quit(reason),
  login: (chat, key) => chat.answer(key, PASSWORDS),
};
const ALIASES = new Map(
  Object.entries({
    m: "msg", tell: "msg", w: "msg", query: "msg", r: "reply", j: "join", part: "leave", exit: "quit", q: "quit",
    register: "login", passwd: "login", drop: "login", oidc: "login",
  }),
);

/** The names of the commands, for completion. */
export const COMMAND_NAMES = [...Object.keys(COMMANDS), "help", "names", "rooms", "history", "search", "uptime"];

/** @param {Chat} chat @param {string} key @param {string} syntax */
function usage(chat, key, syntax) {
  return chat.answer(key, `Usage: ${syntax}`);
}

/**
 * Do what a typed line says, and return the promise of its end, if it has one.
 * @param {Chat} chat @param {string} key the conversation @param {string} line
 */
export function run(chat, key, line) {
  if (!line.startsWith("/") || line.startsWith("//")) return chat.say(key, line.replace(/^\//, ""));
  const [, verb = "", text = ""] = line.match(/^\/(\S*)\s*(.*)$/s) ?? [];
  const name = verb.toLowerCase();
  const command = COMMANDS[ALIASES.get(name) ?? (Object.hasOwn(COMMANDS, name) ? name : "")];
  return command ? command(chat, key, text.trim()) : chat.askServer(key, line);
}
