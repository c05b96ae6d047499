// What the server says by itself.

import { ChatError } from "./connection.js";
import { makeLine } from "./model.js";

/**
 * @typedef {import("./chat.js").Chat} Chat
 * @typedef {import("./model.js").Conversation} Conversation
 */

const RESUMED =
  "This conversation was resumed elsewhere, in another tab or on another device. To be here too, join under another nickname.";

export function take(chat, method, params) {
  const handler = TAKE[method]; // `ping`, and notifications of later versions, have none
  const isOfRoom = typeof params.room === "string";
  const conversation = isOfRoom ? chat.conversations.get(params.room) : null;
  if (handler && (conversation || !isOfRoom)) handler(chat, params, conversation, method);
}

/** @type {Record<string, (chat: Chat, params: any, conversation: Conversation, kind: any) => void>} */
const TAKE = {
  said: takeStored,
  emoted: takeStored,
  shared: takeStored,
  gap: takeStored,
  joined: takeMember,
  left: takeMember,
  renamed: takeMember,
  away: takeMember,

  crowd(chat, { room, joined, left }, conversation) {
    if (joined || left) {
      chat.notice(conversation, { kind: "crowd", first: joined, last: left, text: null });
      chat.readMembers(conversation);
      return;
    }
    // Notices about members and the topic were dropped.
    chat.connection.send("join", { room, after: conversation.newest }, (error, snapshot) => {
      if (!error) chat.enter(snapshot);
    });
  },

  topic(chat, { nick, session, text }, conversation) {
    conversation.topic = text;
    chat.notice(conversation, { kind: "topic", nick, session, text });
    chat.emit("topic", { key: conversation.key });
  },

  told(chat, { id, at, nick, session, text }) {
    if (id <= chat.told) return;
    chat.told = id;
    const conversation = chat.find(chat.openPrivate(nick));
    const line = makeLine({ kind: "told", at, nick, session, text, mentions: true });
    chat.emitLines(conversation, conversation.addNotice(line));
    chat.saveSoon();
  },

  announced(chat, { text }, conversation) {
    const rooms = chat.rooms();
    const place = conversation ?? rooms.find((one) => one.isReading) ?? rooms[0];
    if (place) chat.notice(place, { kind: "announced", text });
  },

  goodbye(chat, { reason, reconnect, after }) {
    if (reconnect) {
      chat.connection.askedDelay = after * 1000;
      chat.connection.drop(reason);
    } else {
      chat.end(reason === "resumed elsewhere" ? RESUMED : reason);
    }
  },
};

function takeStored(chat, params, conversation, method) {
  conversation.touch(params.session, chat.time());
  const change = conversation.takeEvents([{ ...params, method }], chat.self, chat.time());
  chat.emitLines(conversation, change);
  if (change.added.length > 1 || method === "gap") chat.fillGaps(conversation, change.added);
  if (method === "gap") chat.readMembers(conversation); // it may hide changes of members
}

function takeMember(chat, params, conversation, kind) {
  const { room, nick, session, old, reason = null, by } = params;
  const isOwn = session === chat.session;
  if (!conversation.takeMember(kind, params, chat.time())) return;
  if (isOwn && kind === "left") {
    chat.removeConversation(conversation.key);
    const who = by ? ` by ${by}` : "";
    const message = `You were removed from ${room}${who}${reason ? `: ${reason}` : "."}`;
    chat.report(new ChatError({ method: "left", reason: "removed", message }));
    return;
  }
  if (kind === "renamed") {
    if (isOwn) chat.takeNick(nick);
    renamePrivate(chat, old, nick);
  }
  chat.notice(conversation, { kind, nick, session, text: old ?? reason, isOwn });
  chat.emit("members", { key: conversation.key });
}

function renamePrivate(chat, old, nick) {
  const conversation = chat.find(`@${old}`);
  if (!conversation || chat.find(`@${nick}`)) return;
  const from = conversation.key;
  chat.removeConversation(from);
  Object.assign(conversation, { key: `@${nick}`, nick });
  chat.addConversation(conversation, from);
  chat.notice(conversation, { kind: "renamed", nick, text: old });
}
