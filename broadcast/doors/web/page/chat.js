// @ts-check
// The person's session with the server: what the views show, and what the person does.
//
// A page makes one `Chat`, adds its views, and calls `start`: it resumes the session of this tab after a reload.
// Otherwise `state` stays "start", and the join form calls `join`. If another tab uses the saved session (this tab is a
// duplicate), `isDuplicate` is true and a `problem` with the reason "duplicate" says so: `join` begins another session,
// `takeOver` moves that one here.
//
// States: start -> connecting -> open -> lost -> connecting ... -> ended (the server said goodbye: `endReason`; `join`
// comes back). Wherever a method takes a room, it takes the key of a conversation. A promise that a view does not wait
// for reports no error of its own: each failure is also a `problem` event.
//
// Events, with the members of `detail`:
//   state         {state}; also when `retryAt` changes
//   nick          {nick}
//   conversation  {key, kind: "added" | "removed", conversation, from}; `from` is the old key of a renamed one
//   lines         {key, added, changed, removed, atStart}; `lines` of the conversation has their order
//   members       {key}
//   topic         {key}
//   unread        {key, unread, mentioned}
//   problem       {method, code, reason, message, field, data}; `field` is "nick", "password", "room" or ""
//   login         {code} or {ended}: OpenID Connect

import { ChatError, Connection } from "./connection.js";
import { browserEnvironment } from "./environment.js";
import { Conversation, makeLine, noChange } from "./model.js";
import { Outbox } from "./outbox.js";
import { SavedSession } from "./saved.js";

const REPLAY = 100; // the lines of a room that are read when it is entered, and again after a reload
const HISTORY = 1000; // the most lines of one request
const SAVED_PRIVATE_LINES = 100;
const MAX_ATTEMPT = 2 ** 50;
const NO_TOKEN = "none";
const NICK_KEY = "broadcast.nickname";
const FIELDS = new Map([
  ["nick-refused", "nick"],
  ["banned", "nick"],
  ["no-such-room", "room"],
  ["room-refused", "room"],
  ["password-needed", "password"],
  ["wrong-password", "password"],
  ["too-many-tries", "password"],
  ["not-permitted", "password"],
  ["busy", "password"],
]);
/** Refusals of `hello` after which another attempt may succeed. */
const TEMPORARY = new Set([
  "too-many-tries",
  "busy",
  "going-down",
  "too-many-connections",
  "not-kept",
]);

/**
 * @typedef {import("./model.js").Line} Line
 * @typedef {import("./model.js").Change} Change
 */

export class Chat extends EventTarget {
  /** @param {{url?: string, env?: any}} options */
  constructor({ env = browserEnvironment(), url = webSocketAddress(env.document.baseURI) } = {}) {
    super();
    /** @type {"start" | "connecting" | "open" | "lost" | "ended"} */
    this.state = "start";
    this.nick = "";
    /** The public id of the session. */
    this.session = "";
    /** The registered nickname of the account, or null. */
    this.account = /** @type {string | null} */ (null);
    /** When the next attempt to connect is due, in ms since the epoch, or null. */
    this.retryAt = /** @type {number | null} */ (null);
    /** Why the connection was lost, and why the session has ended. */
    this.lostReason = "";
    this.endReason = "";
    this.isDuplicate = false;
    /** The reason for being away, or null. */
    this.away = /** @type {string | null} */ (null);
    /** The answer to the last `hello` without its rooms: `server`, `features`, `limits`, `motd`, ... */
    this.welcome = /** @type {any} */ (null);
    /** @type {Map<string, Conversation>} */
    this.conversations = new Map();

    /** What the chat uses of the browser. */
    this.env = env;
    this._saved = new SavedSession(env, new URL(url).pathname);
    this._token = "";
    this._journal = "";
    this._attempt = 0;
    this._told = 0;
    this._password = "";
    this._firstRoom = "";
    /** @type {Set<string>} */
    this._ownSessions = new Set();
    /** The promise of `join` or `start`, until hello has succeeded. @type {{resolve: Function, reject: Function} | null} */
    this._joining = null;
    this._isRestoring = false; // hello asks for the lines that the page showed before its reload
    this._isLeaving = false;
    this._view = { key: /** @type {string | null} */ (null), isAtEnd: false };
    this._memberTimers = new Map();
    this._self = {
      nick: "",
      isOwn: (/** @type {string} */ session) => this._ownSessions.has(session),
    };
    this._connection = new Connection({
      url,
      env,
      onOpen: () => this._sendHello(),
      onNotification: (method, params) => this._take(method, params),
      onLost: (reason) => this._lost(reason),
      onConnecting: () => this._setState("connecting"),
    });
    this._outbox = new Outbox(
      (method, params, done) => this._connection.send(method, params, done),
      (item, error, result) => this._endOwn(item, error, result),
    );
    env.page.addEventListener("pagehide", () => this._setLeaving(true));
    env.page.addEventListener("pageshow", () => this._setLeaving(false));
    env.document.addEventListener("visibilitychange", () => {
      this.setView(this._view.key, this._view.isAtEnd);
      this._save();
    });
  }

  // Joining and leaving

  /** The nickname of the last session in this browser. */
  get rememberedNick() {
    return this.env.local.getItem(NICK_KEY) ?? "";
  }

  /** Resume the session that this tab had before a reload, if there is one. Return whether it is being resumed. */
  async start() {
    const saved = this._saved.load();
    if (!saved || this.state !== "start") return false;
    if (await this._saved.isHeldElsewhere(saved)) {
      this.isDuplicate = true;
      this._report(
        new ChatError({
          method: "start",
          reason: "duplicate",
          message: `${saved.nick} is in this conversation in another tab. Join under another nickname, or move it here.`,
        }),
      );
      return false;
    }
    this._restore(saved);
    return true;
  }

  /** Move the session of the tab that this one was duplicated from to this tab. */
  takeOver() {
    const saved = this._saved.load();
    this.isDuplicate = false;
    if (saved) this._restore(saved);
  }

  /** @param {{nick: string, password?: string, room?: string}} who */
  join({ nick, password = "", room = "" }) {
    return this._promise("hello", (resolve, reject) => {
      if (this.state !== "start" && this.state !== "ended") {
        reject(new ChatError({ reason: "joined", message: "You have joined already." }));
        return;
      }
      if (this.isDuplicate) this._saved.clear();
      this.isDuplicate = false;
      this.nick = nick;
      this._password = password;
      this._firstRoom = roomName(room);
      this._joining = { resolve, reject };
      this._connection.askedDelay = null;
      this._connection.connect();
    });
  }

  /** Leave the server. */
  quit(reason = "") {
    const end = () => {
      this._end("You have left.");
      for (const key of [...this.conversations.keys()]) this._removeConversation(key);
      this._token = this._journal = "";
      this._outbox.items = [];
    };
    return this._promise("quit", (resolve) => {
      const done = () => {
        end();
        resolve(undefined);
      };
      if (this._connection.isOpen) this._connection.send("quit", reason ? { reason } : {}, done);
      else done();
    });
  }

  /** Try to connect at once. */
  reconnect() {
    this._connection.askedDelay = null;
    if (this.state === "lost") this._connection.connect();
  }

  // What a person does

  /** @param {string} room */
  joinRoom(room) {
    const name = roomName(room);
    return this._call("join", { room: name, replay: REPLAY }, (snapshot) => {
      this._enter(snapshot);
      return this.find(snapshot.room);
    });
  }

  /** Close a private conversation. @param {string} key */
  closePrivate(key) {
    this._removeConversation(key);
    this._save();
  }

  /** Leave a room, or close a private conversation. @param {string} key */
  leaveRoom(key, reason = "") {
    const conversation = this.find(key);
    if (conversation?.room === null) {
      this.closePrivate(conversation.key);
      return Promise.resolve();
    }
    const params = { room: conversation?.room ?? key, ...(reason && { reason }) };
    return this._call("leave", params, () => {
      this._removeConversation(params.room);
      this._save();
    });
  }

  /** Say a line. Return it as it is shown at once; `lines` says when it is stored or has failed. @param {string} key @param {string} text */
  say(key, text) {
    const conversation = this.find(key);
    if (conversation?.room === null) return this.tell(conversation.nick, text);
    return this._sendLine(conversation, "said", "say", { room: conversation?.room ?? key, text });
  }

  /** @param {string} key @param {string} text */
  emote(key, text) {
    const conversation = this.find(key);
    if (conversation?.room === null) return this.tell(conversation.nick, text);
    return this._sendLine(conversation, "emoted", "emote", {
      room: conversation?.room ?? key,
      text,
    });
  }

  /** @param {string} nick @param {string} text */
  tell(nick, text) {
    const conversation = /** @type {Conversation} */ (this.find(this.openPrivate(nick)));
    return this._sendLine(conversation, "told", "tell", { to: conversation.nick, text });
  }

  /** Send a failed line again, with its uid. @param {Line} line */
  retry(line) {
    const conversation = this._takeFailed(line);
    if (!conversation) return;
    Object.assign(line, { status: "sending", reason: "" });
    this._emitLines(conversation, conversation.addOwn(line));
    this._post(conversation, line);
  }

  /** Remove a failed line. @param {Line} line */
  discard(line) {
    this._takeFailed(line);
    this._save();
  }

  /** @param {Line} line */
  _takeFailed(line) {
    const conversation = this._conversationOf(line.uid);
    if (!conversation || line.status !== "failed") return null;
    this._emitLines(conversation, conversation.takeFailed(line));
    return conversation;
  }

  /** @param {string} room @param {string | null} text null or empty removes it */
  setTopic(room, text) {
    return this._call("topic", { room: this.find(room)?.room ?? room, text: text || null });
  }

  /** @param {string} nick */
  setNick(nick) {
    return this._call("nick", { nick }, (result) => this._setNick(result.nick));
  }

  /** @param {string | null} reason null when back */
  setAway(reason) {
    return this._call("away", { reason }, () => {
      this.away = reason;
      this._setState(this.state);
    });
  }

  /** Send a command that the server answers, such as /names, and show the answer. @param {string} key @param {string} line */
  async command(key, line) {
    for (const text of await this.answer(line, key)) this._note(key, text);
  }

  /** Return the lines with which the server answers a command. @param {string} line @returns {Promise<string[]>} */
  answer(line, key = "") {
    const room = this.find(key)?.room ?? this._rooms()[0]?.room ?? "";
    return this._call("command", { room, line }, (result) => result.lines);
  }

  /** Return the key of the private conversation with `nick`, and begin it if there is none. @param {string} nick */
  openPrivate(nick) {
    const conversation =
      this.find(`@${nick}`) ?? this._addConversation(new Conversation({ key: `@${nick}`, nick }));
    return conversation.key;
  }

  // What the person reads

  /** Return the conversation with this key. Case does not count. @param {string} key */
  find(key) {
    const exact = this.conversations.get(key);
    if (exact) return exact;
    const folded = key.toLowerCase();
    return [...this.conversations.values()].find((one) => one.key.toLowerCase() === folded);
  }

  /**
   * Note what is on the screen: a conversation, and whether its newest end is. Lines there are read as they come, while
   * the page is visible. Older lines stay in memory while they are on the screen.
   * @param {string | null} key @param {boolean} isAtEnd
   */
  setView(key, isAtEnd) {
    this._view = { key, isAtEnd };
    for (const conversation of this.conversations.values()) {
      const part = conversation.key !== key ? "nothing" : isAtEnd ? "end" : "older";
      this._emitLines(
        conversation,
        conversation.show(part === "end" && this.env.document.hidden ? "nothing" : part),
      );
    }
  }

  /** Note that the newest end of a conversation is on the screen. @param {string} key */
  markRead(key) {
    this.setView(key, true);
  }

  /**
   * Read older lines into the conversation. Return those that are new.
   * @param {string} room @param {number | null} seq @returns {Promise<Line[]>}
   */
  olderThan(room, seq = this.find(room)?.oldest ?? null, count = REPLAY) {
    if (!seq || seq <= 1) return Promise.resolve([]);
    return this._call(
      "history",
      { room: this.find(room)?.room ?? room, before: seq, count },
      ({ events, more }) =>
        this._takeHistory(room, events, more && events.length > 0 ? events[0].seq : 1, seq - 1),
    );
  }

  /**
   * Read the lines around `seq` into the conversation. A gap remains between them and the newer ones.
   * @param {string} room @param {number} seq @returns {Promise<Line[]>}
   */
  around(room, seq, count = REPLAY) {
    const from = Math.max(1, seq - Math.floor(count / 2));
    return this._call(
      "history",
      { room: this.find(room)?.room ?? room, after: from - 1, count },
      ({ events, more }) =>
        this._takeHistory(
          room,
          events,
          from,
          more && events.length > 0 ? events.at(-1).seq : Infinity,
        ),
    );
  }

  /** @param {string} room @param {any[]} events @param {number} first @param {number} last @returns {Line[]} */
  _takeHistory(room, events, first, last) {
    const conversation = this.find(room);
    if (!conversation) return [];
    conversation.isHeld = true; // until the view says that it shows the newest end
    const change = conversation.takeHistory(events, first, last, this._self);
    this._emitLines(conversation, change);
    return change.added;
  }

  /** @param {string} key @param {string} words @returns {Promise<Line[]>} the newest last */
  search(key, words, count = 50) {
    const conversation = this.find(key);
    const place =
      conversation?.room === null
        ? { with: conversation.nick }
        : { room: conversation?.room ?? key };
    return this._call("search", { ...place, words, count }, (result) =>
      this._linesOf(key, result.events),
    );
  }

  /** @returns {Promise<{room: string, members: number, last: number, topic: string | null}[]>} */
  roomList() {
    return this._call("rooms", {});
  }

  /** Call another method of the server. @param {string} method @param {any} params @returns {Promise<any>} */
  request(method, params) {
    return this._call(method, params);
  }

  /** Show a line that only this person sees. @param {string} key @param {string} text */
  _note(key, text) {
    const conversation = this.find(key);
    if (conversation) this._notice(conversation, { kind: "answer", text });
  }

  // Requests

  /** The server's limits: `line_bytes`, `lines_at_once`, `lines_per_second`. */
  get limits() {
    return this.welcome?.limits ?? null;
  }

  /**
   * @param {string} method @param {(resolve: Function, reject: (error: ChatError) => void) => void} begin
   * @returns {Promise<any>}
   */
  _promise(method, begin) {
    const promise = new Promise((resolve, reject) => {
      begin(resolve, (error) => {
        error.method ||= method;
        this._report(error);
        reject(error);
      });
    });
    promise.catch(() => {}); // a `problem` says it; views need not wait for each promise
    return promise;
  }

  /** @param {string} method @param {any} params @param {(result: any) => any} take @returns {Promise<any>} */
  _call(method, params, take = (result) => result) {
    return this._promise(method, (resolve, reject) => {
      if (!this._connection.isOpen) {
        reject(
          new ChatError({
            reason: "lost",
            message: "There is no connection. Try again when it is back.",
          }),
        );
        return;
      }
      this._connection.send(method, params, (error, result) =>
        error ? reject(error) : resolve(take(result)),
      );
    });
  }

  /** @param {ChatError} error */
  _report(error) {
    const { method, code, reason, message, data } = error;
    const field =
      method === "hello" || method === "nick" || method === "join"
        ? (FIELDS.get(reason) ?? "")
        : "";
    this._emit("problem", { method, code, reason, message, field, data });
  }

  // hello

  _sendHello() {
    const rooms = [...new Set([...this._rooms().map((one) => one.room), this._firstRoom])].filter(
      Boolean,
    );
    const params = /** @type {any} */ ({
      protocol: 1,
      client: "broadcast-page/1",
      nick: this.nick,
      replay: REPLAY,
    });
    if (rooms.length > 0) params.rooms = rooms;
    if (this._password) params.password = this._password;
    if (this._password && this.account) params.nick = this.account;
    if (this._journal) {
      this._attempt += 1;
      const seen = this._rooms().filter((one) => one.newest >= 0);
      const back = this._isRestoring ? REPLAY : 0;
      const numbers = Object.fromEntries(
        seen.map((one) => [one.room, Math.max(0, one.newest - back)]),
      );
      const { _token: token, _journal: journal, _told: told, _attempt: attempt } = this;
      params.resume = { token, journal, rooms: numbers, told, attempt };
      this._save();
    }
    this._connection.send("hello", params, (error, result) =>
      error ? this._refused(error) : this._greet(result),
    );
  }

  /** @param {ChatError} error */
  _refused(error) {
    if (error.reason === "lost") return; // `_lost` follows
    const { reason } = error;
    if (reason === "other-journal" || reason === "ahead") {
      this._forgetNumbers();
      this._sendHello();
    } else if (reason === "stale" && this._attempt < MAX_ATTEMPT) {
      this._attempt *= 2; // the state was saved before later attempts
      this._sendHello();
    } else if (reason === "room-refused" && !this._joining && this._leaveOut(error)) {
      this._sendHello();
    } else if (TEMPORARY.has(reason) && !this._joining) {
      if (error.data.retry) this._connection.askedDelay = error.data.retry * 1000;
      this._connection.drop(error.message);
    } else {
      this._backToStart(error);
    }
  }

  /** Ask the person again: hello was refused for a reason that waiting does not change. @param {ChatError} error */
  _backToStart(error) {
    const joining = this._joining;
    this._joining = null;
    this._connection.close();
    this._outbox.close();
    this._setState("start");
    if (joining) joining.reject(error);
    else this._report(error);
  }

  /** @param {ChatError} error */
  _leaveOut(error) {
    const conversation = this.find(error.data.room ?? "");
    if (!conversation) return false;
    this._report(error);
    this._removeConversation(conversation.key);
    return true;
  }

  _forgetNumbers() {
    this._journal = this._token = "";
    this._told = 0;
    for (const conversation of this._rooms()) this._emitLines(conversation, conversation.forget());
  }

  /** @param {any} result */
  _greet(result) {
    const { rooms, token, resumed, ...welcome } = result;
    const isFirst = this.welcome === null;
    const away = this.away;
    this.welcome = welcome;
    this._token = token;
    if (!resumed) this._told = this._attempt = 0;
    this._journal = welcome.journal;
    this.session = welcome.session;
    this._ownSessions.add(welcome.session);
    this.account = welcome.account;
    this._firstRoom = "";
    this.retryAt = null;
    this.endReason = this.lostReason = "";
    this._connection.ready();
    this._setNick(welcome.nick);
    this._setState("open");
    for (const conversation of this._rooms()) {
      if (!(conversation.room in rooms)) this._removeConversation(conversation.key);
    }
    for (const snapshot of Object.values(rooms)) this._enter(snapshot);
    this._isRestoring = false;
    if (isFirst && welcome.motd && !resumed) this._announce(null, welcome.motd.split("\n"));
    if (away !== null && !resumed) this.setAway(away);
    this._outbox.open({
      resumed,
      linesPerSecond: welcome.limits.lines_per_second,
      lost: (item) => {
        const message =
          "The connection was lost before the server confirmed it. It may have arrived.";
        this._endOwn(item, new ChatError({ reason: "unconfirmed", message }), null);
      },
    });
    this._save();
    this._joining?.resolve(undefined);
    this._joining = null;
  }

  /** @param {any} snapshot */
  _enter(snapshot) {
    const conversation =
      this.conversations.get(snapshot.room) ??
      this._addConversation(new Conversation({ key: snapshot.room, room: snapshot.room }));
    const change = this._isRestoring
      ? this._takeAgain(conversation, snapshot)
      : conversation.takeSnapshot(snapshot, this._self, this._time());
    this._emitLines(conversation, change);
    this._fillGaps(conversation, change.added);
    this._emit("topic", { key: conversation.key });
    this._emit("members", { key: conversation.key });
    if (snapshot.members.length < snapshot.count) this._readMembers(conversation);
  }

  /** Take the lines that the page showed before its reload. @param {Conversation} conversation @param {any} snapshot */
  _takeAgain(conversation, snapshot) {
    conversation.newest = -1;
    return conversation.takeSnapshot(snapshot, this._self, this._time());
  }

  // Notifications

  /** @param {string} method @param {any} params */
  _take(method, params) {
    const conversation = params.room ? this.conversations.get(params.room) : undefined;
    switch (method) {
      case "said":
      case "emoted":
      case "shared":
      case "gap":
        if (!conversation) return;
        conversation.touch(params.session, this._time());
        this._takeStored(conversation, method, params);
        break;
      case "joined":
      case "left":
      case "renamed":
      case "away":
        if (conversation) this._takeMember(conversation, method, params);
        break;
      case "crowd":
        if (conversation) this._takeCrowd(conversation, params);
        break;
      case "topic":
        if (!conversation) return;
        conversation.topic = params.text;
        this._notice(conversation, {
          kind: "topic",
          nick: params.nick,
          session: params.session,
          text: params.text,
        });
        this._emit("topic", { key: conversation.key });
        break;
      case "told":
        this._takeTold(params);
        break;
      case "announced":
        this._announce(params.room, [params.text]);
        break;
      case "login_code":
        this._emit("login", { code: params });
        break;
      case "login_ended":
        this.account = params.account;
        this._setNick(params.nick);
        this._emit("login", { ended: params });
        break;
      case "goodbye":
        if (params.reconnect) {
          this._connection.askedDelay = params.after * 1000;
          this._connection.drop(params.reason);
        } else {
          this._end(params.reason);
        }
        break;
      default: // `ping`, and notifications of later versions
    }
  }

  /** @param {Conversation} conversation @param {string} method @param {any} params */
  _takeStored(conversation, method, params) {
    const change = conversation.takeEvents([{ ...params, method }], this._self, this._time());
    this._emitLines(conversation, change);
    if (change.added.length > 1 || method === "gap") this._fillGaps(conversation, change.added);
    if (method === "gap") this._readMembers(conversation);
  }

  /** @param {Conversation} conversation @param {string} method @param {any} params */
  _takeMember(conversation, method, params) {
    const isOwn = params.session === this.session;
    if (!conversation.takeMember(method, params, this._time())) return;
    if (isOwn && method === "left") {
      this._removeConversation(conversation.key);
      const by = params.by ? ` by ${params.by}` : "";
      const reason = params.reason ? `: ${params.reason}` : ".";
      this._report(
        new ChatError({
          method: "left",
          reason: "removed",
          message: `You were removed from ${params.room}${by}${reason}`,
        }),
      );
      return;
    }
    if (method === "renamed") {
      if (isOwn) this._setNick(params.nick);
      this._renamePrivate(params.old, params.nick);
    }
    const text = method === "renamed" ? params.old : (params.reason ?? null);
    const kind = /** @type {any} */ (method);
    this._notice(conversation, { kind, nick: params.nick, session: params.session, text, isOwn });
    this._emit("members", { key: conversation.key });
  }

  /** @param {Conversation} conversation @param {{joined: number, left: number}} params */
  _takeCrowd(conversation, { joined, left }) {
    if (joined || left)
      this._notice(conversation, { kind: "crowd", first: joined, last: left, text: null });
    // The page has missed notices about the topic, too.
    else
      this._connection.send(
        "join",
        { room: conversation.room, after: conversation.newest },
        (error, snapshot) => {
          if (!error) this._enter(snapshot);
        },
      );
    this._readMembers(conversation);
  }

  /** @param {any} params */
  _takeTold(params) {
    if (params.id <= this._told) return;
    this._told = params.id;
    const conversation = /** @type {Conversation} */ (this.find(this.openPrivate(params.nick)));
    const { at, nick, session, text } = params;
    this._emitLines(
      conversation,
      conversation.addNotice(makeLine({ kind: "told", at, nick, session, text, mentions: true })),
    );
    this._save();
  }

  /** @param {string | null} room @param {string[]} texts */
  _announce(room, texts) {
    const rooms = this._rooms();
    const conversation =
      rooms.find((one) => (room === null ? one.isReading : one.room === room)) ?? rooms[0];
    if (!conversation) return;
    for (const text of texts) this._notice(conversation, { kind: "announced", text });
  }

  // Members

  /** Read the list of members anew, a little later: many pages may want it at once. @param {Conversation} conversation */
  _readMembers(conversation) {
    const { room } = conversation;
    if (this._memberTimers.has(room)) return;
    const delay = 500 + 2000 * this.env.random();
    this._memberTimers.set(
      room,
      this.env.setTimeout(() => {
        this._memberTimers.delete(room);
        this._readMembersAfter(conversation, "");
      }, delay),
    );
  }

  /** @param {Conversation} conversation @param {string} after */
  _readMembersAfter(conversation, after) {
    if (!this._connection.isOpen || this.conversations.get(conversation.key) !== conversation)
      return;
    this._connection.send(
      "members",
      { room: conversation.room, after, count: 1000 },
      (error, page) => {
        if (error) return;
        if (after) conversation.addMembers(page.members, this._time());
        else conversation.setMembers(page.members, page.count, this._time());
        conversation.count = page.count;
        this._emit("members", { key: conversation.key });
        if (page.more) this._readMembersAfter(conversation, page.members.at(-1).nick);
      },
    );
  }

  /** @param {string} old @param {string} nick */
  _renamePrivate(old, nick) {
    const conversation = this.find(`@${old}`);
    if (!conversation || this.find(`@${nick}`)) return;
    this._removeConversation(conversation.key);
    const from = conversation.key;
    Object.assign(conversation, { key: `@${nick}`, nick });
    this._addConversation(conversation, from);
    this._notice(conversation, { kind: "renamed", nick, text: old });
  }

  // Own lines

  /**
   * @param {Conversation | undefined} conversation @param {any} kind @param {string} method @param {any} params
   * @returns {Promise<any>}
   */
  _sendLine(conversation, kind, method, params) {
    return this._promise(method, (resolve, reject) => {
      if (!conversation) {
        reject(new ChatError({ reason: "not-in-room", message: `You are not in ${params.room}.` }));
        return;
      }
      const line = makeLine({
        kind,
        at: this._time(),
        nick: this.nick,
        session: this.session,
        text: params.text,
        uid: this.env.randomId(),
        status: "sending",
        isOwn: true,
      });
      this._emitLines(conversation, conversation.addOwn(line));
      this._post(conversation, line);
      resolve(line);
    });
  }

  /** @param {Conversation} conversation @param {Line} line */
  _post(conversation, line, wasSent = false) {
    const place = line.kind === "told" ? { to: conversation.nick } : { room: conversation.room };
    const method = line.kind === "told" ? "tell" : line.kind === "emoted" ? "emote" : "say";
    this._outbox.add(line.uid, method, { ...place, text: line.text }, wasSent);
    this._save();
  }

  /** @param {import("./outbox.js").Item} item @param {ChatError | null} error @param {any} result */
  _endOwn(item, error, result) {
    const conversation = this._conversationOf(item.uid);
    if (!conversation) return;
    this._emitLines(conversation, conversation.endOwn(item.uid, error?.message ?? null, result));
    const nick = item.params.to;
    if (result?.kept)
      this._note(conversation.key, `${nick} is not here, and receives this at the next login.`);
    else if (result?.away !== undefined) {
      this._note(
        conversation.key,
        result.away ? `${nick} is away: ${result.away}` : `${nick} is away.`,
      );
    }
    this._save();
  }

  /** @param {string} uid */
  _conversationOf(uid) {
    return [...this.conversations.values()].find((one) =>
      one.lines.some((line) => line.uid === uid),
    );
  }

  // Gaps

  /** Read the lines of the gaps that the server has just announced. @param {Conversation} conversation @param {Line[]} lines */
  _fillGaps(conversation, lines) {
    for (const { kind, first, last } of lines) {
      if (kind !== "gap" || last - first >= HISTORY) continue; // a larger one stays until the view is at the end
      this._connection.send(
        "history",
        { room: conversation.room, from: first, to: last },
        (error, result) => {
          if (error) return; // the line says which are missing
          const { events, more } = result;
          const [low, high] =
            more && events.length > 0 ? [events[0].seq, events.at(-1).seq] : [first, last];
          const change = conversation.takeHistory(events, Math.min(low, high), high, this._self);
          this._emitLines(conversation, change);
          if (events.length > 0) this._fillGaps(conversation, change.added);
        },
      );
    }
  }

  // The connection

  /** @param {string} reason */
  _lost(reason) {
    this._outbox.close();
    if (this.state === "ended" || this.state === "start") return;
    if (this._joining) {
      const message = `The server cannot be reached${reason ? `: ${reason}` : "."} Try again.`;
      this._backToStart(new ChatError({ reason: "unreachable", message }));
      return;
    }
    this.lostReason = reason || this.lostReason;
    this.retryAt = this._connection.retryAt;
    this._setState("lost");
  }

  /** End the session. @param {string} reason */
  _end(reason) {
    this.endReason = reason;
    this._token = NO_TOKEN; // that of the ended session would take it from the tab that has it now
    this._saved.clear();
    this._setState("ended");
    this._connection.close();
    this._outbox.close();
  }

  // The saved state

  _setLeaving(/** @type {boolean} */ isLeaving) {
    this._isLeaving = isLeaving;
    this._save();
  }

  _save() {
    if (!this._journal || this.state === "start" || this.state === "ended") return;
    const rooms = this._rooms().map(({ room, newest, readUpTo }) => ({ room, newest, readUpTo }));
    const talks = [...this.conversations.values()].filter((one) => one.room === null);
    const sent = new Set(this._outbox.items.filter((item) => item.wasSent).map((item) => item.uid));
    const own = [...this.conversations.values()].flatMap(({ key, lines }) =>
      lines
        .filter((line) => line.status !== "stored")
        .map((line) => ({ key, line, wasSent: sent.has(line.uid) })),
    );
    this._saved.save(
      {
        token: this._token,
        journal: this._journal,
        session: this.session,
        attempt: this._attempt,
        nick: this.nick,
        account: this.account,
        told: this._told,
        away: this.away,
        sessions: [...this._ownSessions].slice(-20),
        rooms,
        private: talks.map(({ nick, unread, mentioned, lines }) => ({
          nick,
          unread,
          mentioned,
          lines: lines.filter((line) => line.status === "stored").slice(-SAVED_PRIVATE_LINES),
        })),
        own,
      },
      !this._isLeaving,
    );
  }

  /** @param {any} saved */
  _restore(saved) {
    const { token, journal, attempt, nick, account, told, away } = saved;
    Object.assign(this, { nick, account, away, session: saved.session });
    Object.assign(this, { _token: token, _journal: journal, _attempt: attempt, _told: told });
    this._self.nick = nick;
    this._ownSessions = new Set(saved.sessions);
    this._isRestoring = true;
    for (const { room, newest, readUpTo } of saved.rooms) {
      Object.assign(this._addConversation(new Conversation({ key: room, room })), {
        newest,
        readUpTo,
      });
    }
    for (const { nick: other, unread, mentioned, lines } of saved.private) {
      const conversation = this._addConversation(
        new Conversation({ key: `@${other}`, nick: other }),
      );
      const added = lines.map((/** @type {any} */ line) => makeLine(line));
      conversation.lines.push(...added);
      Object.assign(conversation, { unread, mentioned });
      this._emitLines(conversation, { ...noChange(), added });
    }
    for (const { key, line: old, wasSent } of saved.own) {
      const conversation = this.find(key);
      if (!conversation) continue;
      const line = makeLine(old);
      this._emitLines(conversation, conversation.addOwn(line));
      if (line.status === "sending") this._post(conversation, line, wasSent);
    }
    this._connection.connect();
  }

  // State and events

  _rooms() {
    return /** @type {(Conversation & {room: string})[]} */ (
      [...this.conversations.values()].filter((one) => one.room !== null)
    );
  }

  _time() {
    return this.env.now() / 1000;
  }

  /** @param {string} room @param {any[]} events */
  _linesOf(room, events) {
    const reader = this.find(room) ?? new Conversation({ key: room, room });
    return events.map((event) => reader.lineOf(event, this._self));
  }

  /** @param {Conversation} conversation */
  _addConversation(conversation, from = "") {
    this.conversations.set(conversation.key, conversation);
    this._emit("conversation", { key: conversation.key, kind: "added", conversation, from });
    return conversation;
  }

  /** @param {string} key */
  _removeConversation(key) {
    const conversation = this.conversations.get(key);
    if (conversation && this.conversations.delete(key)) {
      this._emit("conversation", { key, kind: "removed", conversation, from: "" });
    }
  }

  /** @param {Conversation} conversation @param {Partial<Line> & {kind: any}} members */
  _notice(conversation, members) {
    this._emitLines(
      conversation,
      conversation.addNotice(makeLine({ at: this._time(), ...members })),
    );
  }

  /** @param {string} nick */
  _setNick(nick) {
    this.env.local.setItem(NICK_KEY, nick);
    if (nick === this._self.nick) return;
    this.nick = this._self.nick = nick;
    this._emit("nick", { nick });
  }

  /** @param {Chat["state"]} state */
  _setState(state) {
    this.state = state;
    this._emit("state", { state });
  }

  /** @param {Conversation} conversation @param {Change} change */
  _emitLines(conversation, change) {
    // The room's stream may show an own line before the server answers it.
    for (const line of change.changed) if (line.seq !== null) this._outbox.confirm(line.uid);
    if (change.added.length || change.changed.length || change.removed.length) {
      this._emit("lines", { key: conversation.key, ...change });
    }
    if (conversation.unread !== conversation.shownUnread) this._emitUnread(conversation);
  }

  /** @param {Conversation} conversation */
  _emitUnread(conversation) {
    const { key, unread, mentioned } = conversation;
    conversation.shownUnread = unread;
    this._emit("unread", { key, unread, mentioned });
  }

  /** @param {string} name @param {any} detail */
  _emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Return the address of the WebSocket beside the page at `page`. */
export function webSocketAddress(/** @type {string} */ page) {
  const address = new URL("ws", page);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.hash = address.search = "";
  return address.href;
}

/** Return the name of a room as a person types it: `#Kitchen` is kitchen. */
export function roomName(/** @type {string} */ typed) {
  return typed.trim().replace(/^#/, "").toLowerCase();
}
