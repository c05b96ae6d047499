// A browser without a page, whose clock the test moves, and a server that answers what the test says.

export class FakeSocket {
  constructor(env, url, protocol) {
    Object.assign(this, { env, url, protocol, readyState: 0, sent: [] });
    env.sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  // What the test does

  open() {
    this.readyState = 1;
    this.onopen();
  }

  drop(reason = "") {
    this.readyState = 3;
    this.onclose({ code: 1006, reason });
  }

  receive(...messages) {
    this.onmessage({ data: messages.map((message) => JSON.stringify(message)).join("\n") });
  }

  notify(method, params = {}) {
    this.receive({ jsonrpc: "2.0", method, params });
  }

  /** Return the last request of a method. */
  last(method) {
    const request = this.sent.findLast((one) => one.method === method);
    if (!request) throw new Error(`no ${method} in ${this.sent.map((one) => one.method)}`);
    return request;
  }

  answer(method, result) {
    this.receive({ jsonrpc: "2.0", id: this.last(method).id, result });
  }

  refuse(method, code, reason, data = {}) {
    const error = { code, message: `It is ${reason}.`, data: { reason, ...data } };
    this.receive({ jsonrpc: "2.0", id: this.last(method).id, error });
  }
}

function storage() {
  const values = new Map();
  return {
    values,
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => void values.set(key, String(value)),
    removeItem: (key) => void values.delete(key),
  };
}

/** The tabs of one browser: what they say to each other, or in a secure context the locks that they hold. */
export class FakeChannels {
  constructor({ isSecure = false } = {}) {
    this.all = [];
    this.held = [];
    const request = async (name, use) => {
      const lock = { name };
      this.held.push(lock);
      await use();
      this.held.splice(this.held.indexOf(lock), 1);
    };
    this.locks = isSecure ? { request, query: async () => ({ held: [...this.held] }) } : undefined;
    const channels = this;
    this.BroadcastChannel = class {
      constructor(name) {
        this.name = name;
        channels.all.push(this);
      }

      postMessage(data) {
        for (const one of channels.all) if (one !== this && one.name === this.name) one.onmessage({ data });
      }
    };
  }
}

export class FakeEnvironment {
  constructor({ session = storage(), channels = new FakeChannels() } = {}) {
    this.time = 1000000;
    this.timers = new Map();
    this.sockets = [];
    this.page = new EventTarget();
    this.document = Object.assign(new EventTarget(), { hidden: false, baseURI: "http://chat.example/" });
    this.local = storage();
    this.session = session;
    this.online = true;
    this.ids = 0;
    this.BroadcastChannel = channels.BroadcastChannel;
    this.locks = channels.locks;
    const env = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url, protocol) {
        super(env, url, protocol);
      }
    };
    for (const name of ["now", "random", "randomId", "isOnline", "setTimeout", "clearTimeout"]) {
      this[name] = this[name].bind(this);
    }
  }

  now() {
    return this.time;
  }

  random() {
    return 0.5;
  }

  randomId() {
    this.ids += 1;
    return `uid${this.ids}`;
  }

  isOnline() {
    return this.online;
  }

  setTimeout(call, ms) {
    const timer = Symbol("timer");
    this.timers.set(timer, { at: this.time + ms, call });
    return timer;
  }

  clearTimeout(timer) {
    this.timers.delete(timer);
  }

  /** Let time pass. While the machine sleeps, no timer runs until the end. */
  advance(ms, { asleep = false } = {}) {
    const end = this.time + ms;
    if (asleep) this.time = end;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].call();
    }
    this.time = end;
  }

  get socket() {
    return this.sockets.at(-1);
  }
}

export const LIMITS = { line_bytes: 4096, lines_at_once: 100, lines_per_second: null };

export function member(nick, session = `s-${nick}`) {
  return { nick, session, away: null, idle: 0 };
}

export function said(seq, text, more = {}) {
  return { method: "said", room: "lobby", seq, at: seq, nick: "bob", session: "s-bob", text, ...more };
}

export function snapshot(room = "lobby", more = {}) {
  const members = [member("ann"), member("bob")];
  return { room, last: 0, topic: null, count: members.length, members, events: [], more: false, ...more };
}

export function welcome(more = {}) {
  return {
    server: "Test", version: "1", features: [], motd: null, now: 1, resumed: false, journal: "j", nick: "ann",
    session: "s-ann", account: null, passwords: "safe", token: "t", grace: 60, limits: LIMITS,
    rooms: { lobby: snapshot() }, ...more,
  };
}
