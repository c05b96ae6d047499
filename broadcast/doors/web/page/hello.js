// The request `hello`: what it asks for, and what follows an answer or a refusal.

import { ChatError } from "./connection.js";
import { loginOf, setLogin } from "./logins.js";

/** @typedef {import("./chat.js").Chat} Chat */

export const REPLAY = 100; // the lines of a room that are read when it is entered or shown again
const MAX_ATTEMPT = 2 ** 50;
/** Refusals after which another attempt may succeed. */
const TEMPORARY = ["too-many-tries", "busy", "going-down", "too-many-connections", "not-kept"];

/** Begin a session, or resume it. */
export function sendHello(chat) {
  const { token, journal, told, account, nick, password } = chat;
  const rooms = chat.rooms();
  const names = new Set(rooms.map((one) => one.room));
  if (chat.firstRoom) names.add(chat.firstRoom);
  const params = { protocol: 1, client: "broadcast-page/1", replay: REPLAY };
  const login = password ? "" : chat.login || loginOf(chat.env, account ?? nick);
  params.nick = ((password || login) && account) || nick;
  if (password) Object.assign(params, { password, remember: chat.remember });
  else if (login) Object.assign(params, { login, remember: !!chat.login && chat.remember });
  chat.login = "";
  if (names.size > 0) params.rooms = [...names];
  if (journal) {
    chat.attempt += 1;
    // After a reload, the page shows these lines again.
    const back = chat.isRestoring ? REPLAY : 0;
    const seen = rooms.filter((one) => one.newest >= 0);
    const numbers = seen.map((one) => [one.room, Math.max(0, one.newest - back)]);
    const { attempt } = chat;
    params.resume = { token, journal, told, attempt, rooms: Object.fromEntries(numbers) };
    chat.save();
  }
  chat.connection.send("hello", params, (error, result) => {
    if (!error) greet(chat, result);
    else if (error.reason !== "lost") refused(chat, error, params); // the loss itself follows
  });
}

/** Go on after a refusal of the request with these parameters. */
function refused(chat, error, params) {
  const { reason, data } = error;
  if (params.login && reason === "wrong-password") {
    setLogin(chat.env, params.nick, "");
    error.message = "The browser is not logged in any more. Type the password.";
  }
  const isFirst = chat.joining !== null; // the person waits for it, and can decide
  const room = chat.find(data.room ?? "");
  if (reason === "other-journal" || reason === "ahead") {
    chat.journal = chat.token = "";
    chat.told = 0;
    for (const one of chat.rooms()) chat.emitLines(one, one.forget());
    sendHello(chat);
  } else if (reason === "stale" && chat.attempt < MAX_ATTEMPT) {
    chat.attempt *= 2; // the session was resumed more often than the saved number says
    sendHello(chat);
  } else if (reason === "room-refused" && !isFirst && room) {
    chat.report(error);
    chat.removeConversation(room.key);
    sendHello(chat);
  } else if (TEMPORARY.includes(reason) && !isFirst) {
    if (data.retry) chat.connection.askedDelay = data.retry * 1000;
    chat.connection.drop(error.message);
  } else {
    chat.backToStart(error);
  }
}

function greet(chat, { rooms, token, resumed, login, ...welcome }) {
  const isFirst = chat.welcome === null && !resumed;
  const { journal, session, account, nick, limits, motd } = welcome;
  if (account !== chat.account) chat.forgetPrivate();
  Object.assign(chat, { welcome, token, journal, session, account, firstRoom: "", retryAt: null });
  if (login) {
    setLogin(chat.env, account, login);
    chat.password = "";
  }
  chat.lostReason = chat.endReason = "";
  if (!resumed) chat.told = chat.attempt = 0;
  chat.ownSessions.add(session);
  chat.connection.ready();
  chat.takeNick(nick);
  chat.setState("open");
  for (const { key, room } of chat.rooms()) if (!(room in rooms)) chat.removeConversation(key);
  for (const snapshot of Object.values(rooms)) chat.enter(snapshot);
  chat.isRestoring = false;
  const [place] = chat.rooms();
  for (const text of (isFirst && place && motd?.split("\n")) || []) {
    chat.notice(place, { kind: "announced", text });
  }
  if (chat.away !== null && !resumed) chat.setAway(chat.away);
  chat.outbox.open({
    resumed,
    linesPerSecond: limits.lines_per_second,
    lost(item) {
      const message = "The connection was lost before the answer. The message may have arrived.";
      chat.endOwn(item, new ChatError({ reason: "unconfirmed", message }), null);
    },
  });
  chat.save();
  chat.joining?.resolve(undefined);
  chat.joining = null;
}
