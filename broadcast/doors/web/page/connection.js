// A JSON-RPC connection over a WebSocket that comes back by itself.

const SUBPROTOCOL = "broadcast.v1";
const FIRST_DELAY_MS = 1000; // the longest first delay; each failure doubles it
const LONGEST_DELAY_MS = 30000;
const CONNECT_MS = 15000; // a browser's own limit is minutes
const HELLO_MS = 30000;
const TICK_MS = 5000;
const SLEPT_MS = 20000; // a timer that is late by this much means that the machine slept
const SLEPT_HIDDEN_MS = 90000; // browsers call the timers of a hidden page once a minute
const SILENCE_MS = 75000; // the server writes at least every 60 s
const PROBE_MS = 8000;

/** The failure of a request. `reason` is the server's word for it; `lost` if there is no answer. */
export class ChatError extends Error {
  constructor({ code = 0, reason = "", message, data = {}, method = "" }) {
    super(message);
    this.code = code;
    this.reason = reason || data.reason || "";
    this.data = data;
    this.method = method;
  }
}

/**
 * Return the delay in ms after failed attempts in a row, at least one. The jitter is a random number from 0 to 1: pages
 * that lost the server together do not come back together.
 */
export function backoff(failures, jitter) {
  return jitter * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(failures - 1, 20));
}

/** @typedef {(error: ChatError | null, result: any) => void} Done */

export class Connection {
  /**
   * `onOpen` is called when hello can be sent, `onLost` when a connection or an attempt has ended.
   * @param {{ url: string, env: any, onConnecting: () => void, onOpen: () => void, onNotification: (method: string,
   *   params: any) => void, onLost: (reason: string) => void, }} options
   */
  constructor({ url, env, onConnecting, onOpen, onNotification, onLost }) {
    Object.assign(this, { url, env, onConnecting, onOpen, onNotification, onLost });
    /** When the next attempt is due, in ms since the epoch. */
    this.retryAt = null;
    this.isWanted = false;
    /** The delay before the next attempt that the server asks for, in ms; null for the usual one. */
    this.askedDelay = null;
    this._socket = null;
    this._isReady = false; // true after hello
    this._failures = 0;
    this._retryTimer = 0;
    this._tickTimer = 0;
    this._deadline = Infinity;
    this._heardAt = 0;
    this._tickedAt = 0;
    this._lastId = 0;
    /** The requests without an answer. @type {Map<number, {method: string, done: Done}>} */
    this._calls = new Map();
    const check = () => this.check();
    for (const name of ["online", "offline", "pageshow", "focus"]) {
      env.page.addEventListener(name, check);
    }
    for (const name of ["visibilitychange", "resume"]) env.document.addEventListener(name, check);
  }

  get isOpen() {
    return this._isReady && this._socket !== null;
  }

  /** Connect now, and again after each loss until `close`. */
  connect() {
    this.isWanted = true;
    if (this._socket !== null) return;
    this.env.clearTimeout(this._retryTimer);
    this.retryAt = null;
    this._isReady = false;
    this._deadline = this.env.now() + CONNECT_MS;
    let socket;
    try {
      socket = new this.env.WebSocket(this.url, SUBPROTOCOL);
    } catch (error) {
      this._end(String(error));
      return;
    }
    this._socket = socket;
    socket.onopen = () => {
      if (socket !== this._socket) return;
      this._hear();
      this._deadline = this.env.now() + HELLO_MS;
      this.onOpen();
    };
    socket.onmessage = (event) => {
      if (socket === this._socket) this._receive(event.data);
    };
    socket.onclose = (event) => {
      if (socket === this._socket) this._end(event.reason);
    };
    this._startTicking();
    this.onConnecting();
  }

  ready() {
    this._isReady = true;
    this._failures = 0;
    this._deadline = Infinity;
  }

  /** End the connection, and do not come back. */
  close() {
    this.isWanted = false;
    this.retryAt = null;
    this.env.clearTimeout(this._retryTimer);
    this.drop("");
  }

  /** End this connection; another attempt follows if the connection is wanted. */
  drop(reason) {
    if (this._socket === null) return;
    this._socket.close();
    this._end(reason);
  }

  /** Send a request. `done` is called in the order of the server's messages, or with a `lost` error. */
  send(method, params, done) {
    if (this._socket === null || this._socket.readyState !== 1) {
      done(new ChatError({ reason: "lost", message: "There is no connection.", method }), null);
      return;
    }
    this._lastId += 1;
    this._calls.set(this._lastId, { method, done });
    this._socket.send(JSON.stringify({ jsonrpc: "2.0", id: this._lastId, method, params }));
  }

  /** Find out at once whether the connection lives, or try again at once: the network or the page has changed. */
  check() {
    if (this._socket === null) {
      if (this.isWanted && !this.env.document.hidden && this.env.isOnline() && !this.askedDelay)
        this.connect();
    } else if (this._isReady && this.env.now() - this._heardAt > 1000) {
      this._probe();
    }
  }

  _probe() {
    if (this._deadline !== Infinity) return;
    this._deadline = this.env.now() + PROBE_MS;
    this.send("ping", {}, () => {});
    // A hidden page's ticks are rare, so the deadline has a timer of its own.
    this.env.setTimeout(() => this._checkDeadline(), PROBE_MS + 50);
  }

  _hear() {
    this._heardAt = this.env.now();
    if (this._isReady) this._deadline = Infinity;
  }

  _startTicking() {
    this.env.clearTimeout(this._tickTimer);
    this._tickedAt = this.env.now();
    this._tickTimer = this.env.setTimeout(() => this._tick(), TICK_MS);
  }

  _tick() {
    if (this._socket === null) return;
    const now = this.env.now();
    const late = now - this._tickedAt - TICK_MS;
    const hasSlept = late > (this.env.document.hidden ? SLEPT_HIDDEN_MS : SLEPT_MS);
    this._startTicking();
    if (this._isReady && (hasSlept || now - this._heardAt > SILENCE_MS)) {
      // After a sleep, an old deadline says nothing: the answer may not have had a chance to
      // arrive.
      if (hasSlept) this._deadline = Infinity;
      this._probe();
    }
    this._checkDeadline();
  }

  _checkDeadline() {
    if (this._socket !== null && this.env.now() >= this._deadline)
      this.drop("The server does not answer.");
  }

  _receive(data) {
    this._hear();
    for (const text of String(data).split("\n")) {
      if (!text.trim()) continue;
      let message;
      try {
        message = JSON.parse(text);
      } catch {
        this.drop("The server sent a message that is no JSON.");
        return;
      }
      const socket = this._socket;
      this._dispatch(message);
      if (socket !== this._socket) return; // the message has ended this connection
    }
  }

  _dispatch(message) {
    if (message.method !== undefined) {
      this.onNotification(message.method, message.params ?? {});
      return;
    }
    const call = this._calls.get(message.id);
    if (call === undefined) return;
    this._calls.delete(message.id);
    if (message.error) call.done(new ChatError({ ...message.error, method: call.method }), null);
    else call.done(null, message.result);
  }

  _end(reason) {
    const wasReady = this._isReady;
    this._socket = null;
    this._isReady = false;
    this._deadline = Infinity;
    this.env.clearTimeout(this._tickTimer);
    const calls = [...this._calls.values()];
    this._calls.clear();
    for (const { method, done } of calls) {
      done(new ChatError({ reason: "lost", message: "The connection is lost.", method }), null);
    }
    if (this.isWanted) {
      this._failures = wasReady ? 1 : this._failures + 1;
      const delay = this.askedDelay ?? backoff(this._failures, this.env.random());
      this.retryAt = this.env.now() + delay;
      this._retryTimer = this.env.setTimeout(() => {
        this.askedDelay = null;
        this.connect();
      }, delay);
    }
    this.onLost(reason);
  }
}
