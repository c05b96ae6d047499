// @ts-check
// The commands that people type. The server answers those that are not here.

/**
 * What the page does for a command, with the text behind it. A function may return the key of the conversation to
 * show.
 * @type {Record<string, (chat: any, key: string, text: string) => any>}
 */
const COMMANDS = {
  async away(chat, _key, reason) {
    await chat.setAway(reason);
  },
  async back(chat) {
    await chat.setAway(null);
  },
  async join(chat, _key, room) {
    return (await chat.joinRoom(required(room, "/join ROOM"))).key;
  },
  async leave(chat, key, room) {
    await chat.leaveRoom(room || key);
  },
  async logout(chat) {
    await chat.logOut();
  },
  async me(chat, key, text) {
    await chat.emote(key, required(text, "/me TEXT"));
  },
  async msg(chat, _key, text) {
    const [, nick, words] = /^(\S*)\s*(.*)$/s.exec(text) ?? [];
    const key = chat.openPrivate(required(nick, "/msg NICKNAME TEXT"));
    if (words) await chat.tell(nick, words);
    return words ? undefined : key;
  },
  async nick(chat, _key, nick) {
    await chat.setNick(required(nick, "/nick NICKNAME"));
  },
  async quit(chat, _key, reason) {
    await chat.quit(reason);
  },
  async reply(chat, _key, text) {
    const author = lastAuthor(chat);
    if (!author) throw new Error("Nobody has written to you yet.");
    await chat.tell(author, required(text, "/reply TEXT"));
  },
  async topic(chat, key, text) {
    const topic = chat.find(key)?.topic;
    if (text) await chat.setTopic(key, text);
    else chat.notice(chat.find(key), { kind: "answer", text: topic ? `Topic: ${topic}` : "There is no topic." });
  },
};
/** @type {Record<string, string>} */
const ALIASES = { exit: "quit", m: "msg", q: "quit", r: "reply", tell: "msg", w: "msg" };

/** The names of the commands, for completion. */
export const COMMAND_NAMES = [...Object.keys(COMMANDS), "files", "help", "history", "names", "rooms", "search", "upload-link", "uptime"];

/**
 * Do what a typed command says. Return the key of the conversation to show, if there is one.
 * @param {any} chat @param {string} key The conversation in which it was typed. @param {string} line
 */
export async function run(chat, key, line) {
  const [, verb = "", text = ""] = /^\/(\S*)\s*(.*)$/s.exec(line) ?? [];
  const name = verb.toLowerCase();
  if (name === "say") return void (await chat.say(key, required(text, "/say TEXT")));
  const own = Object.hasOwn(ALIASES, name) ? ALIASES[name] : name;
  if (Object.hasOwn(COMMANDS, own)) return COMMANDS[own](chat, key, text.trim());
  return void (await chat.command(key, line));
}

/** Return a text, or fail with the usage if it is empty. @param {string} text @param {string} usage */
function required(text, usage) {
  if (!text.trim()) throw new Error(`the command is not complete: ${usage}`);
  return text;
}

/** Return the nickname of the author of the newest private message to this person, or an empty text. @param {any} chat */
function lastAuthor(chat) {
  const lines = [...chat.conversations.values()].flatMap((one) => one.lines);
  const told = lines.filter((line) => line.kind === "told" && !line.isOwn);
  return told.reduce((last, line) => (line.at >= last.at ? line : last), { at: 0, nick: "" }).nick;
}
