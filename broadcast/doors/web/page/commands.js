// The commands that people type. The server answers those that are not here.

/**
 * What the page does for a command, with the text behind it. A function may return the key of the conversation to show.
 * @type {Record<string, (chat: any, key: string, text: string) => any>}
 */
const COMMANDS = {
  away: (chat, _key, reason) => chat.setAway(reason),
  back: (chat) => chat.setAway(null),
  async help(chat, key, text) {
    const lines = await chat.command(key, `/help ${text}`);
    const isHere = (line) => COMMAND_NAMES.includes(/^\/(\S+)/.exec(line)?.[1] ?? "");
    const ours = "/upload   opens the dialog that shares a file";
    answer(chat, key, text ? lines : [...lines.filter(isHere), ours]);
  },
  async join(chat, _key, room) {
    return (await chat.joinRoom(required(room, "/join ROOM"))).key;
  },
  leave: (chat, key, room) => chat.leaveRoom(room || key),
  login: (chat) => chat.emit("form", { name: "login" }),
  logout: (chat) => chat.logOut(),
  async me(chat, key, text) {
    await chat.emote(key, required(text, "/me TEXT"));
  },
  async msg(chat, key, text) {
    const [, nick, words] = /^(\S*)\s*(.*)$/s.exec(text) ?? [];
    required(nick, "/msg NICKNAME TEXT");
    if (!words) return chat.openPrivate(nick);
    return tell(chat, key, nick, words);
  },
  nick: async (chat, _key, nick) => chat.setNick(required(nick, "/nick NICKNAME")),
  oidc: (chat) => chat.emit("form", { name: "oidc" }),
  passwd: (chat) => chat.emit("form", { name: "passwd" }),
  quit: (chat, _key, reason) => chat.quit(reason),
  register: (chat) => chat.emit("form", { name: "register" }),
  async reply(chat, key, text) {
    const author = lastAuthor(chat);
    if (!author) throw new Error("Nobody has written to you yet.");
    await tell(chat, key, author, required(text, "/reply TEXT"));
  },
  async say(chat, key, text) {
    await chat.say(key, required(text, "/say TEXT"));
  },
  async topic(chat, key, text) {
    const topic = chat.find(key)?.topic;
    if (text) await chat.setTopic(key, text);
    else answer(chat, key, [topic ? `Topic: ${topic}` : "There is no topic."]);
  },
  async upload() {
    const button = document.getElementById("attach");
    if (!button || button.hidden) throw new Error("Files cannot be shared here.");
    button.click();
  },
};
/** @type {Record<string, string>} */
const ALIASES = { exit: "quit", m: "msg", q: "quit", r: "reply", tell: "msg", w: "msg" };

/** The names of the commands, for completion. */
export const COMMAND_NAMES = Object.keys(COMMANDS).concat(
  ["files", "history", "inbox", "motd", "names", "ping", "rooms", "search", "upload-link", "uptime", "version"],
);

/**
 * Do what a typed command says. Return the key of the conversation to show, if there is one.
 * @param {string} key The conversation in which it was typed.
 */
export async function run(chat, key, line) {
  const [, verb = "", text = ""] = /^\/(\S*)\s*(.*)$/s.exec(line) ?? [];
  const name = verb.toLowerCase();
  const own = Object.hasOwn(ALIASES, name) ? ALIASES[name] : name;
  if (Object.hasOwn(COMMANDS, own)) return COMMANDS[own](chat, key, text.trim());
  return answer(chat, key, await chat.command(key, line));
}

/** Show an answer where the command was typed. */
function answer(chat, key, lines) {
  const conversation = chat.find(key);
  if (conversation) chat.notice(conversation, { kind: "answer", text: lines.join("\n") });
}

/** Send a private message, and say where it was typed that it has arrived. A refused one leaves nothing behind. */
async function tell(chat, from, nick, text) {
  const line = await chat.tell(nick, text);
  if (line.status === "sending") {
    await new Promise((resolve) => {
      chat.addEventListener("lines", function check() {
        if (line.status === "sending") return;
        chat.removeEventListener("lines", check);
        resolve(null);
      });
    });
  }
  if (line.status === "stored") return answer(chat, from, [`To ${nick} only: ${text}`]);
  chat.discard(line);
  if (chat.find(`@${nick}`)?.lines.length === 0) chat.leaveRoom(`@${nick}`);
  throw new Error(line.reason);
}

/** Return a text, or fail with the usage if it is empty. */
function required(text, usage) {
  if (!text.trim()) throw new Error(`the command is not complete: ${usage}`);
  return text;
}

/** Return the nickname of the author of the newest private message to this person, or an empty text. */
function lastAuthor(chat) {
  const lines = [...chat.conversations.values()].flatMap((one) => one.lines);
  const told = lines.filter((line) => line.kind === "told" && !line.isOwn);
  return told.reduce((last, line) => (line.at >= last.at ? line : last), { at: 0, nick: "" }).nick;
}
