// A server inside the page: a WebSocket that answers as the server's program protocol does. Tests put it in place of
// the browser's WebSocket before the page's own scripts run, and speak to it as `server`.

(() => {
  const sockets = new Set();
  const rooms = new Map();
  const people = new Map();
  let lastSession = 0;

  const send = (socket, message) => {
    const data = JSON.stringify({ jsonrpc: "2.0", ...message });
    if (sockets.has(socket)) socket.onmessage?.({ data });
  };

  function room(name) {
    if (!rooms.has(name)) rooms.set(name, { name, topic: null, events: [], members: new Map() });
    return rooms.get(name);
  }

  function person(nick) {
    if (!people.has(nick)) {
      lastSession += 1;
      people.set(nick, { nick, session: `s${lastSession}`, away: null, idle: 0 });
    }
    return people.get(nick);
  }

  function snapshot(name, replay) {
    const { events, topic, members } = room(name);
    const all = [...members.values()];
    return {
      room: name,
      last: events.length,
      topic,
      count: all.length,
      members: all,
      events: events.slice(-replay || events.length),
      more: events.length > replay,
    };
  }

  const errorOf = (code, message, reason) => ({ code, message, data: { reason } });

  const methods = {
    hello(socket, { nick, rooms: names = ["lobby"], replay = 20 }) {
      if (people.has(nick) && nick === "taken") {
        return errorOf(1003, "taken is taken. Type another nickname.", "nick-refused");
      }
      socket.person = person(nick);
      for (const name of names) room(name).members.set(socket.person.session, socket.person);
      return {
        result: {
          server: "Broadcast",
          version: "0",
          features: [],
          motd: null,
          now: Date.now() / 1000,
          resumed: false,
          journal: "j",
          nick,
          session: socket.person.session,
          token: "t",
          grace: 60,
          limits: { line_bytes: 4096, lines_at_once: 100, lines_per_second: null },
          rooms: Object.fromEntries(names.map((name) => [name, snapshot(name, replay)])),
        },
      };
    },
    say(socket, { room: name, text, uid }) {
      if (server.refusal) return server.refusal;
      const event = server.say(socket.person.nick, text, { name, uid });
      return { result: { seq: event.seq, at: event.at } };
    },
    join(socket, { room: name, replay = 20 }) {
      room(name).members.set(socket.person.session, socket.person);
      return { result: snapshot(name, replay) };
    },
    history(_, { room: name, before, after, last, count, from, to }) {
      const { events } = room(name);
      server.histories += 1;
      if (before !== undefined) {
        const some = events.slice(Math.max(0, before - 1 - count), before - 1);
        return { result: { events: some, more: before - 1 - count > 0 } };
      }
      if (after !== undefined) {
        const some = events.slice(after, after + count);
        return { result: { events: some, more: after + count < events.length } };
      }
      return { result: { events: last ? events.slice(-last) : events.slice(from - 1, to), more: false } };
    },
    search(_, { room: name, words }) {
      return { result: { events: room(name).events.filter((event) => event.text.includes(words)).slice(-50) } };
    },
    members: (_, { room: name }) => ({
      result: { count: room(name).members.size, members: [...room(name).members.values()], more: false },
    }),
    rooms: () => ({ result: [...rooms.values()].map(({ name }) => ({ room: name, members: 1, last: 0, topic: null })) }),
    command: (_, { line }) => ({ result: { lines: [`answer to ${line}`] } }),
  };

  class FakeSocket {
    constructor() {
      this.readyState = 0;
      setTimeout(() => {
        if (server.isDown) {
          this.close();
          return;
        }
        this.readyState = 1;
        sockets.add(this);
        this.onopen?.();
      });
    }

    send(text) {
      const { id, method, params } = JSON.parse(text);
      setTimeout(() => {
        if (server.isSilent) return;
        const answer = methods[method]?.(this, params) ?? { result: {} };
        if (id !== undefined) send(this, "result" in answer ? { id, ...answer } : { id, error: answer });
      });
    }

    close() {
      this.readyState = 3;
      sockets.delete(this);
      setTimeout(() => this.onclose?.({ code: 1006, reason: "" }));
    }
  }

  const server = {
    refusal: null,
    isDown: false,
    isSilent: false,
    histories: 0,
    rooms,
    room,
    person,

    /** Send a notification to the page. */
    emit(method, params) {
      for (const socket of sockets) send(socket, { method, params });
    },

    /** Store a line, and send it to the page. `quiet` only stores it. */
    say(nick, text, { name = "lobby", uid, method = "said", at = Date.now() / 1000, quiet = false, ...more } = {}) {
      const { events } = room(name);
      const seq = events.length + 1;
      const { session } = person(nick);
      const event = { method, room: name, seq, at, nick, session, text, ...(uid && { uid }), ...more };
      events.push(event);
      if (!quiet) this.emit(method, event);
      return event;
    },

    /** Let a person join or leave. */
    come(nick, method = "joined", { name = "lobby", reason = null } = {}) {
      const { session } = person(nick);
      if (method === "joined") room(name).members.set(session, person(nick));
      else room(name).members.delete(session);
      this.emit(method, { room: name, nick, session, ...(method === "left" && { reason }) });
    },

    /** End all connections. */
    cut() {
      for (const socket of [...sockets]) socket.close();
    },
  };
  window.server = server;
  window.WebSocket = FakeSocket;
})();
