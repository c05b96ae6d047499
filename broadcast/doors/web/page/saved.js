// What a reload of this tab needs, in sessionStorage. A duplicated tab has a copy of it.

import { load, store } from "./environment.js";
import { Conversation, makeLine, noChange } from "./model.js";

const ANSWER_MS = 300;
const PRIVATE_LINES = 100; // the most lines of a private conversation

/** @typedef {import("./chat.js").Chat} Chat */

export class SavedSession {
  /** @param {string} path distinguishes the servers of one origin */
  constructor(env, path) {
    this._env = env;
    this._key = `broadcast:${path}`;
    this._held = ""; // the session of this tab
    this._release = () => {};
    this._asked = "";
    this._onAnswer = () => {};
    // Locks exist in secure contexts only.
    this._channel = !env.locks && env.BroadcastChannel ? new env.BroadcastChannel(this._key) : null;
    if (!this._channel) return;
    this._channel.onmessage = ({ data }) => {
      if (data.ask && data.ask === this._held) this._channel.postMessage({ held: data.ask });
      if (data.held && data.held === this._asked) this._onAnswer();
    };
  }

  /** Return what this tab has saved, or null. */
  load() {
    return load(this._env.session, this._key, null);
  }

  /**
   * Save the session. `isInUse` is false while the page is being left, so that a reload knows that it is no duplicate.
   */
  save(chat, isInUse) {
    this._hold(chat.session);
    store(this._env.session, this._key, { ...describe(chat), isInUse });
  }

  clear() {
    this._hold("");
    this._env.session.removeItem(this._key);
  }

  /** Let other tabs know that this one has the session, until it ends. */
  _hold(session) {
    if (session === this._held) return;
    this._release();
    this._held = session;
    if (!session || !this._env.locks) return;
    const end = new Promise((resolve) => (this._release = () => resolve(null)));
    this._env.locks.request(this._lockOf(session), () => end);
  }

  _lockOf(session) {
    return `${this._key} ${session}`;
  }

  /** Return whether another tab holds the session. Without locks, nobody answers after a crash. */
  async isHeldElsewhere({ session, isInUse }) {
    const { locks } = this._env;
    if (!isInUse) return false;
    if (locks) {
      const { held } = await locks.query();
      return held.some(({ name }) => name === this._lockOf(session));
    }
    if (!this._channel) return false;
    return new Promise((resolve) => {
      this._asked = session;
      this._onAnswer = () => resolve(true);
      this._channel.postMessage({ ask: session });
      this._env.setTimeout(() => resolve(false), ANSWER_MS);
    });
  }
}

/** Return what the server does not send again. It holds no password. */
function describe(chat) {
  const { token, journal, session, attempt, nick, account, told, away } = chat;
  const all = [...chat.conversations.values()];
  const wasSent = new Set(chat.outbox.items.filter((item) => item.wasSent).map((item) => item.uid));
  const isStored = (line) => line.status === "stored";
  return {
    ...{ token, journal, session, attempt, nick, account, told, away },
    sessions: [...chat.ownSessions].slice(-20),
    rooms: chat.rooms().map(({ room, newest, readUpTo }) => ({ room, newest, readUpTo })),
    private: all
      .filter((one) => one.room === null)
      .map(({ nick, unread, mentioned, lines }) => {
        return { nick, unread, mentioned, lines: lines.filter(isStored).slice(-PRIVATE_LINES) };
      }),
    own: all.flatMap(({ key, lines }) => {
      const own = lines.filter((line) => !isStored(line));
      return own.map((line) => ({ key, line, wasSent: wasSent.has(line.uid) }));
    }),
  };
}

/** Restore a saved session, up to its hello. */
export function restore(chat, saved) {
  const { sessions, rooms, private: talks, own, isInUse, ...state } = saved;
  Object.assign(chat, state);
  chat.self.nick = chat.nick;
  chat.ownSessions = new Set(sessions);
  for (const { room, ...numbers } of rooms) {
    Object.assign(chat.addConversation(new Conversation({ key: room, room })), numbers);
  }
  for (const { nick, lines, ...counts } of talks) {
    const conversation = chat.addConversation(new Conversation({ key: `@${nick}`, nick }));
    conversation.lines = lines.map(makeLine);
    Object.assign(conversation, counts);
    chat.emitLines(conversation, { ...noChange(), added: conversation.lines.slice() });
  }
  for (const { key, line: old, wasSent } of own) {
    const conversation = chat.find(key);
    if (!conversation) continue;
    const line = makeLine(old);
    chat.emitLines(conversation, conversation.addOwn(line));
    if (line.status === "sending") chat.post(conversation, line, wasSent);
  }
}
