// The person's session with the server: what the views show, and what the person does.
//
// A page makes one `Chat`, adds its views, and calls `start`, which resumes the session of this tab
// after a reload. Otherwise `state` stays "start", and the join form calls `join`. If another tab
// uses the saved session (this tab is a duplicate), `isDuplicate` is true: `join` begins another
// session, `takeOver` moves that one here.
//
// States: start -> connecting -> open -> lost -> connecting ... -> ended (the server said goodbye:
// `endReason`). `join` comes back from the end. A room is named by the key of its conversation.
// A view need not wait for a promise: each failure is also a `problem` event.
//
// Events, with the members of `detail`:
//   state         {state}; also when `away` changes
//   nick          {nick}
//   conversation  {key, kind: "added" | "removed", conversation, from}; `from` is the old key of a
//                 private conversation whose person has another nickname
//   lines         {key, added, changed, removed, atStart}; the conversation has their order
//   members       {key}
//   topic         {key}
//   unread        {key, unread, mentioned}
//   problem       {method, code, reason, message, field, data}; `field` is "nick", "password",
//                 "room" or ""
//   account       {}: the session has logged in or out
//   private       {}: the private conversations were removed, for another person may come
//   form          {name}: a form for the account is asked for, see account.js

import { ChatError, Connection } from "./connection.js";
import { browserEnvironment, load, store } from "./environment.js";
import { REPLAY, sendHello } from "./hello.js";
import { loginOf, setLogin } from "./logins.js";
import { Conversation, makeLine } from "./model.js";
import { Outbox } from "./outbox.js";
import { take } from "./received.js";
import { restore, SavedSession } from "./saved.js";

const SAVE_MS = 200;
const HISTORY = 1000; // the most lines of one request
const NO_TOKEN = "none";
const NICK_KEY = "broadcast.nickname";
/** The field of the refusal of a name or a password. @type {Record<string, string>} */
const FIELDS = {
  "nick-refused": "nick", banned: "nick", "no-such-room": "room", "room-refused": "room",
  "password-needed": "password", "wrong-password": "password", "too-many-tries": "password",
  "not-permitted": "password", busy: "password",
};

/**
 * @typedef {import("./model.js").Line} Line
 * @typedef {import("./model.js").Change} Change
 */

export class Chat extends EventTarget {
  constructor({ env = browserEnvironment(), url = webSocketAddress(env.document.baseURI) } = {}) {
    super();
    /** What the chat uses of the browser. */
    this.env = env;
    /** @type {"start" | "connecting" | "open" | "lost" | "ended"} */
    this.state = "start";
    this.nick = "";
    /** The public id of the session. */
    this.session = "";
    /** The registered nickname of the account, or null. */
    this.account = null;
    /** The reason for being away, or null. */
    this.away = null;
    /** When the next attempt to connect is due, in ms since the epoch, or null. */
    this.retryAt = null;
    this.lostReason = "";
    this.endReason = "";
    /** Whether the person has ended the session. */
    this.hasQuit = false;
    this.isDuplicate = false;
    /** The answer to the last `hello`, without its rooms, or null. */
    this.welcome = null;
    /** @type {Map<string, Conversation>} */
    this.conversations = new Map();

    // For the modules that the chat consists of
    this.token = "";
    this.journal = "";
    this.attempt = 0;
    this.told = 0; // the number of the last private message
    this.password = ""; // for the next hello; it is stored nowhere
    this.login = ""; // a one-time login for the next hello
    this.remember = false; // whether the next hello with one of both asks for a login to remember
    this.firstRoom = "";
    /** The ids of this and earlier sessions: their lines are own ones. @type {Set<string>} */
    this.ownSessions = new Set();
    /** The promise of `join`, until hello has an answer. @type {{resolve: any, reject: any} | null} */
    this.joining = null;
    this.isRestoring = false;
    this.self = { nick: "", isOwn: (id) => this.ownSessions.has(id) };
    this.connection = new Connection({
      url,
      env,
      onOpen: () => sendHello(this),
      onNotification: (method, params) => take(this, method, params),
      onLost: (reason) => this._lost(reason),
      onConnecting: () => this.setState("connecting"),
    });
    this.outbox = new Outbox(
      (method, params, done) => this.connection.send(method, params, done),
      (item, error, result) => this.endOwn(item, error, result),
    );

    this._saved = new SavedSession(env, new URL(url).pathname);
    this._isLeaving = false;
    this._saveTimer = undefined;
    this._view = { key: null, isAtEnd: false };
    /** The rooms whose members are going to be read. @type {Set<string | null>} */
    this._membersDue = new Set();
    env.page.addEventListener("pagehide", () => this._setLeaving(true));
    env.page.addEventListener("pageshow", () => this._setLeaving(false));
    env.document.addEventListener("visibilitychange", () => {
      this.setView(this._view.key, this._view.isAtEnd);
      this.save();
    });
  }

  // Joining and leaving

  /** The nickname of the last session in this browser. */
  get rememberedNick() {
    return load(this.env.local, NICK_KEY, "");
  }

  /** Resume the session that this tab had before a reload. Return whether there is one. */
  async start() {
    const saved = this._saved.load();
    if (!saved || this.state !== "start") return false;
    this.isDuplicate = await this._saved.isHeldElsewhere(saved);
    if (!this.isDuplicate) {
      this._restore(saved);
      return true;
    }
    this.setState("start");
    const other = `${saved.nick} is here in another tab.`;
    const message = `${other} Join under another nickname, or move the conversation to this tab.`;
    this.report(new ChatError({ method: "start", reason: "duplicate", message }));
    return false;
  }

  /** Move the session of the tab that this one was duplicated from to this tab. */
  takeOver() {
    const saved = this._saved.load();
    this.isDuplicate = false;
    if (saved) this._restore(saved);
  }

  _restore(saved) {
    this.isRestoring = true;
    restore(this, saved);
    this.connection.connect();
  }

  join({ nick, password = "", login = "", remember = false, room = "" }) {
    return this._promise("hello", (resolve, reject) => {
      if (this.state !== "start" && this.state !== "ended") {
        reject(new ChatError({ reason: "joined", message: "You have joined already." }));
        return;
      }
      if (this.isDuplicate) this._saved.clear();
      this.isDuplicate = false;
      Object.assign(this, { nick, password, login, remember, firstRoom: roomName(room) });
      this.joining = { resolve, reject };
      this.connection.askedDelay = null;
      this.connection.connect();
    });
  }

  /** Log out, and forget the login of this browser. The server gives another nickname. */
  logOut() {
    const login = loginOf(this.env, this.account ?? "");
    return this.request("logout", login ? { login } : {}, (result) => {
      setLogin(this.env, this.account ?? "", "");
      this.takeAccount(result);
    });
  }

  /**
   * Take the answer to a login, a registration or a logout.
   * @param {{nick: string, account: ?string, login?: string}} result @param {string} password for the next hello
   */
  takeAccount({ nick, account, login }, password = "") {
    if (this.account !== account) this.forgetPrivate();
    this.account = account;
    this.password = login ? "" : password;
    if (login) setLogin(this.env, account ?? "", login);
    this.takeNick(nick);
    this.emit("account", {});
    this.save();
  }

  /** Remove the private conversations of the account, which the next person here must not read. */
  forgetPrivate() {
    if (!this.account) return;
    for (const { key, room } of [...this.conversations.values()]) if (room === null) this.removeConversation(key);
    this.outbox.items = this.outbox.items.filter(({ method }) => method !== "tell");
    this.emit("private", {});
  }

  /** Leave the server, and forget everything. */
  quit(reason = "") {
    return this._promise("quit", (resolve) => {
      const done = () => {
        this.hasQuit = true;
        this.end("You have left.");
        for (const key of [...this.conversations.keys()]) this.removeConversation(key);
        this.emit("private", {});
        this.journal = this.password = "";
        this.outbox.items = [];
        resolve();
      };
      if (this.connection.isOpen) this.connection.send("quit", reason ? { reason } : {}, done);
      else done();
    });
  }

  reconnect() {
    this.connection.askedDelay = null;
    if (this.state === "lost") this.connection.connect();
  }

  // What a person does

  joinRoom(room) {
    const params = { room: roomName(room), replay: REPLAY };
    return this.request("join", params, (snapshot) => this.enter(snapshot));
  }

  /** Leave a room, or close a private conversation. */
  leaveRoom(key, reason = "") {
    const close = () => {
      this.removeConversation(this.find(key)?.key ?? key);
      this.save();
    };
    if (this.find(key)?.room === null) return Promise.resolve(close());
    return this.request("leave", { ...this._place(key), ...(reason && { reason }) }, close);
  }

  /** Say a line. Return it as it is shown at once; `lines` says when it is stored or has failed. */
  say(key, text) {
    return this._sendLine(key, "said", text);
  }

  emote(key, text) {
    return this._sendLine(key, "emoted", text);
  }

  tell(nick, text) {
    return this._sendLine(this.openPrivate(nick), "told", text);
  }

  /** Send a failed line again, with its uid. */
  retry(line) {
    const conversation = this._takeFailed(line);
    if (!conversation) return;
    Object.assign(line, { status: "sending", reason: "" });
    this.emitLines(conversation, conversation.addOwn(line));
    this.post(conversation, line);
  }

  discard(line) {
    this._takeFailed(line);
    this.saveSoon();
  }

  /** @param {string | null} text null or empty removes it */
  setTopic(key, text) {
    return this.request("topic", { ...this._place(key), text: text || null });
  }

  setNick(nick) {
    return this.request("nick", { nick }, (result) => this.takeNick(result.nick));
  }

  /** @param {string | null} reason null when back */
  setAway(reason) {
    return this.request("away", { reason }, () => {
      this.away = reason;
      this.setState(this.state);
    });
  }

  /** Send a command that the server answers, such as /names. Return the answer's lines. */
  command(key, line) {
    const room = this.find(key)?.room ?? this.rooms()[0]?.room ?? "";
    return this.request("command", { room, line }, ({ lines }) => lines);
  }

  /** Begin a private conversation, unless it exists. Return its key. */
  openPrivate(nick) {
    const key = `@${nick}`;
    return (this.find(key) ?? this.addConversation(new Conversation({ key, nick }))).key;
  }

  // What the person reads

  /** Return the conversation with this key, or else one whose key differs in case only. */
  find(key) {
    const isMeant = (one) => one.key.toLowerCase() === key.toLowerCase();
    return this.conversations.get(key) ?? [...this.conversations.values()].find(isMeant);
  }

  /**
   * Note what is on the screen: a conversation, and whether its newest end is. Lines there are read as they come, while
   * the page is visible. Older lines stay in memory while they are shown.
   */
  setView(key, isAtEnd) {
    this._view = { key, isAtEnd };
    const end = this.env.document.hidden ? "nothing" : "end";
    for (const conversation of this.conversations.values()) {
      const part = conversation.key !== key ? "nothing" : isAtEnd ? end : "older";
      this.emitLines(conversation, conversation.show(part));
    }
  }

  /** Read older lines into the conversation. Return those that are new. */
  olderThan(key, seq = this.find(key)?.oldest ?? null, count = REPLAY) {
    if (!seq || seq <= 1) return Promise.resolve([]);
    const params = { ...this._place(key), before: seq, count };
    return this.request("history", params, ({ events, more }) =>
      this._takeHistory(key, events, more && events.length ? events[0].seq : 1, seq - 1),
    );
  }

  /** Read the lines around `seq` into the conversation. A gap remains before the newer ones. */
  around(key, seq, count = REPLAY) {
    const from = Math.max(1, seq - Math.floor(count / 2));
    const params = { ...this._place(key), after: from - 1, count };
    return this.request("history", params, ({ events, more }) =>
      this._takeHistory(key, events, from, more && events.length ? events.at(-1).seq : Infinity),
    );
  }

  _takeHistory(key, events, first, last) {
    const conversation = this.find(key);
    if (!conversation) return [];
    conversation.isHeld = true; // until the view says that it shows the newest end
    const change = conversation.takeHistory(events, first, last, this.self);
    this.emitLines(conversation, change);
    return change.added;
  }

  /** @returns {Promise<Line[]>} the newest last */
  search(key, words, count = 50) {
    const reader = this.find(key) ?? new Conversation({ key, room: key });
    const place = reader.room === null ? { with: reader.nick } : { room: reader.room };
    return this.request("search", { ...place, words, count }, ({ events }) =>
      events.map((event) => reader.lineOf(event, this.self)),
    );
  }

  /** @returns {Promise<{room: string, members: number, last: number, topic: string | null}[]>} */
  roomList() {
    return this.request("rooms", {});
  }

  // Requests

  /** Call a method of the server. `take` gets the result before anything that the server sends next. */
  request(method, params, take = (result) => result) {
    return this._promise(method, (resolve, reject) => {
      if (this.connection.isOpen) {
        this.connection.send(method, params, (error, result) => {
          if (error) reject(error);
          else resolve(take(result));
        });
      } else {
        const message = "There is no connection. Try again when it is back.";
        reject(new ChatError({ reason: "lost", message }));
      }
    });
  }

  _promise(method, begin) {
    const promise = new Promise((resolve, reject) => {
      begin(resolve, (error) => {
        error.method ||= method;
        this.report(error);
        reject(error);
      });
    });
    promise.catch(() => {}); // the problem is reported, also if nobody waits for the promise
    return promise;
  }

  /** The room of a request. */
  _place(key) {
    return { room: this.find(key)?.room ?? key };
  }

  report({ method, code, reason, message, data }) {
    const field = (["hello", "nick", "join"].includes(method) && FIELDS[reason]) || "";
    this.emit("problem", { method, code, reason, message, field, data });
  }

  // Rooms and members

  /** Take the answer to `join`, or a room of the answer to `hello`. */
  enter(snapshot) {
    const { room } = snapshot;
    const conversation =
      this.find(room) ?? this.addConversation(new Conversation({ key: room, room }));
    if (this.isRestoring) conversation.newest = -1; // the page shows its lines again
    const change = conversation.takeSnapshot(snapshot, this.self, this.time());
    this.emitLines(conversation, change);
    this.fillGaps(conversation, conversation.lines); // also those whose answer was lost
    this.emit("topic", { key: room });
    this.emit("members", { key: room });
    if (snapshot.members.length < snapshot.count) this.readMembers(conversation);
    return conversation;
  }

  /** Read the lines of the gaps that the server has announced. A larger gap stays. */
  fillGaps(conversation, lines) {
    for (const { kind, first: from, last: to } of lines) {
      if (kind !== "gap" || to - from >= HISTORY) continue;
      const params = { room: conversation.room, from, to };
      this.connection.send("history", params, (error, result) => {
        if (error) return; // the line says which are missing
        const { events, more } = result;
        const [low, high] = more && events.length ? [events[0].seq, events.at(-1).seq] : [from, to];
        const change = conversation.takeHistory(events, low, high, this.self);
        this.emitLines(conversation, change);
        if (events.length) this.fillGaps(conversation, change.added);
      });
    }
  }

  /** Read the list of members anew, a little later: other pages may want it at the same time. */
  readMembers(conversation) {
    const { room } = conversation;
    if (this._membersDue.has(room)) return;
    const read = (after) => {
      if (!this.connection.isOpen || this.find(conversation.key) !== conversation) return;
      this.connection.send("members", { room, after, count: 1000 }, (error, page) => {
        if (error) return;
        if (!after) conversation.members.clear();
        conversation.addMembers(page.members, page.count, this.time());
        this.emit("members", { key: conversation.key });
        if (page.more) read(page.members.at(-1).nick);
      });
    };
    const begin = () => {
      this._membersDue.delete(room);
      read("");
    };
    this._membersDue.add(room);
    this.env.setTimeout(begin, 500 + 2000 * this.env.random());
  }

  // Own lines

  _sendLine(key, kind, text) {
    return this._promise("say", (resolve, reject) => {
      const conversation = this.find(key);
      if (!conversation) {
        reject(new ChatError({ reason: "not-in-room", message: `You are not in ${key}.` }));
        return;
      }
      const { nick, session } = this;
      const line = makeLine({
        kind: conversation.room === null ? "told" : kind, at: this.time(), nick, session, text,
        uid: this.env.randomId(), status: "sending", isOwn: true,
      });
      this.emitLines(conversation, conversation.addOwn(line));
      this.post(conversation, line);
      resolve(line);
    });
  }

  post(conversation, { uid, kind, text }, wasSent = false) {
    const { room, nick } = conversation;
    if (room === null) this.outbox.add(uid, "tell", { to: nick, text }, wasSent);
    else this.outbox.add(uid, kind === "emoted" ? "emote" : "say", { room, text }, wasSent);
    this.saveSoon();
  }

  endOwn({ uid, params }, error, result) {
    const conversation = this._conversationOf(uid);
    if (!conversation) return;
    this.emitLines(conversation, conversation.endOwn(uid, error?.message ?? null, result));
    const { kept, away } = result ?? {};
    let text = "";
    if (kept) text = `${params.to} is not here, and receives this at the next login.`;
    else if (away !== undefined) text = `${params.to} is away${away ? `: ${away}` : "."}`;
    if (text) this.notice(conversation, { kind: "answer", text });
    this.saveSoon();
  }

  _takeFailed(line) {
    const conversation = this._conversationOf(line.uid);
    if (!conversation || line.status !== "failed") return null;
    this.emitLines(conversation, conversation.takeOut(line));
    return conversation;
  }

  _conversationOf(uid) {
    const has = (one) => one.lines.some((line) => line.uid === uid);
    return [...this.conversations.values()].find(has);
  }

  // The connection

  _lost(reason) {
    this.outbox.close();
    if (this.state === "ended" || this.state === "start") return;
    if (this.joining) {
      const message = `The server cannot be reached${reason ? `: ${reason}` : "."} Try again.`;
      this.backToStart(new ChatError({ reason: "unreachable", message }));
      return;
    }
    this.lostReason = reason || this.lostReason;
    this.retryAt = this.connection.retryAt;
    this.setState("lost");
  }

  /** Ask the person again: waiting does not help. */
  backToStart(error) {
    const { joining } = this;
    this.joining = null;
    this.setState("start");
    this.connection.close();
    if (joining) joining.reject(error);
    else this.report(error);
  }

  end(reason) {
    this.endReason = reason;
    this.token = NO_TOKEN; // the old one would take the session from the tab that has it now
    this._saved.clear();
    this.setState("ended");
    this.connection.close();
    this.joining?.reject(new ChatError({ reason: "ended", message: reason }));
    this.joining = null;
  }

  /** Save the session for a reload, once for the many lines of a paste. */
  saveSoon() {
    this._saveTimer ??= this.env.setTimeout(() => this.save(), SAVE_MS);
  }

  save() {
    this.env.clearTimeout(this._saveTimer);
    this._saveTimer = undefined;
    const hasSession = this.state !== "start" && this.state !== "ended" && this.journal;
    if (hasSession) this._saved.save(this, !this._isLeaving);
  }

  _setLeaving(isLeaving) {
    this._isLeaving = isLeaving;
    this.save();
  }

  // State and events

  rooms() {
    return [...this.conversations.values()].filter((one) => one.room !== null);
  }

  time() {
    return this.env.now() / 1000;
  }

  addConversation(conversation, from = "") {
    const { key } = conversation;
    this.conversations.set(key, conversation);
    this.emit("conversation", { key, kind: "added", conversation, from });
    return conversation;
  }

  removeConversation(key) {
    const conversation = this.conversations.get(key);
    if (!conversation) return;
    this.conversations.delete(key);
    this.emit("conversation", { key, kind: "removed", conversation, from: "" });
  }

  /** Show a line without a number. */
  notice(conversation, members) {
    const line = makeLine({ at: this.time(), ...members });
    this.emitLines(conversation, conversation.addNotice(line));
  }

  takeNick(nick) {
    store(this.env.local, NICK_KEY, nick);
    if (nick === this.self.nick) return;
    this.nick = this.self.nick = nick;
    this.emit("nick", { nick });
  }

  setState(state) {
    this.state = state;
    this.emit("state", { state });
  }

  emitLines(conversation, change) {
    const { key, unread, mentioned } = conversation;
    // The room's stream may show an own line before the server answers it.
    for (const line of change.changed) if (line.seq !== null) this.outbox.confirm(line.uid);
    if (change.added.length || change.changed.length || change.removed.length) {
      this.emit("lines", { key, ...change });
    }
    if (unread === conversation.shownUnread) return;
    conversation.shownUnread = unread;
    this.emit("unread", { key, unread, mentioned });
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Return the address of the WebSocket beside a page. */
export function webSocketAddress(page) {
  const address = new URL("ws", page);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.hash = address.search = "";
  return address.href;
}

/** Return the name of a room as a person types it: `#Kitchen` is kitchen. */
export function roomName(typed) {
  return typed.trim().replace(/^#/, "").toLowerCase();
}
