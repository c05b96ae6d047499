import assert from "node:assert/strict";
import { test } from "node:test";

import { Chat } from "../../broadcast/doors/web/page/chat.js";
import { comeBack, leave } from "../../broadcast/doors/web/page/login.js";
import { loggedIn, loginOf, setLogin } from "../../broadcast/doors/web/page/logins.js";
import { parse } from "../../broadcast/doors/web/page/typing.js";
import { FakeEnvironment, welcome } from "./fakes.js";

/** Return a chat that has joined, and its browser. */
async function joined(who = { nick: "ann" }, more = {}) {
  const env = new FakeEnvironment();
  const chat = new Chat({ env, url: "ws://chat.example/ws" });
  const promise = chat.join(who);
  env.socket.open();
  const { params } = env.socket.last("hello");
  env.socket.answer("hello", welcome(more));
  await promise;
  return { env, chat, params };
}

function atAddress(search, hash = "") {
  const replaced = [];
  globalThis.location = { search, hash, pathname: "/chat/" };
  globalThis.history = { replaceState: (_state, _title, url) => replaced.push(url) };
  return replaced;
}

test("a one-time login is sent once, and can be remembered", async () => {
  const { env, chat, params } = await joined({ nick: "", login: "once", remember: true }, { account: "ann", login: "kept" });
  assert.deepEqual([params.nick, params.login, params.remember], ["", "once", true]);
  assert.equal(loginOf(env, "ann"), "kept");
  assert.deepEqual(loggedIn(env), ["ann"]);
  env.socket.drop();
  env.advance(60000);
  env.socket.open();
  assert.equal(env.socket.last("hello").params.login, "kept");
  assert.equal(env.socket.last("hello").params.remember, false);
  assert.equal(chat.login, "");
});

test("a login that is not remembered leaves nothing", async () => {
  const { env, params } = await joined({ nick: "", login: "once" }, { account: "ann" });
  assert.equal(params.remember, false);
  assert.deepEqual(loggedIn(env), []);
  env.socket.drop();
  env.advance(60000);
  env.socket.open();
  assert.equal("login" in env.socket.last("hello").params, false);
});

test("after a logout, nothing private is left", async () => {
  const { env, chat } = await joined({ nick: "ann", password: "a secret" }, { account: "ann" });
  env.socket.notify("told", { id: 1, at: 1, nick: "bob", session: "s-bob", text: "psst" });
  chat.outbox.maxUnanswered = 0; // the lines are not sent yet
  chat.tell("bob", "what is it?");
  chat.say("lobby", "hello");
  let cleared = 0;
  chat.addEventListener("private", () => (cleared += 1));
  chat.logOut();
  env.socket.answer("logout", { nick: "ann2", account: null });
  assert.deepEqual([...chat.conversations.keys()], ["lobby"]);
  assert.deepEqual(chat.outbox.items.map(({ method }) => method), ["say"]);
  assert.deepEqual([chat.account, chat.password, chat.nick, cleared], [null, "", "ann2", 1]);
  assert.doesNotMatch([...env.session.values.values()].join(), /psst|what is it/);
});

test("after quitting, nothing is left for the next person", async () => {
  const { env, chat } = await joined();
  let cleared = 0;
  chat.addEventListener("private", () => (cleared += 1));
  chat.quit();
  env.socket.answer("quit", {});
  assert.deepEqual([chat.conversations.size, cleared], [0, 1]);
});

test("the next account of the tab does not see the conversations of the last one", async () => {
  const { env, chat } = await joined({ nick: "ann", password: "a secret" }, { account: "ann" });
  env.socket.notify("told", { id: 1, at: 1, nick: "bob", session: "s-bob", text: "psst" });
  env.socket.notify("goodbye", { reason: "The password has been changed: log in again.", reconnect: false });
  chat.join({ nick: "zoe" });
  env.socket.open();
  env.socket.answer("hello", welcome({ nick: "zoe" }));
  assert.deepEqual([...chat.conversations.keys()], ["lobby"]);
});

test("a guest who logs in keeps the conversations", async () => {
  const { env, chat } = await joined();
  env.socket.notify("told", { id: 1, at: 1, nick: "bob", session: "s-bob", text: "psst" });
  chat.takeAccount({ nick: "ann", account: "ann", login: "kept" }, "a password");
  assert.deepEqual([...chat.conversations.keys()], ["lobby", "@bob"]);
  assert.deepEqual([chat.account, chat.password, loginOf(env, "ann")], ["ann", "", "kept"]);
  setLogin(env, "ANN", "");
  assert.deepEqual(loggedIn(env), []);
});

test("the page asks for the result only if it comes back from the provider", async () => {
  const env = new FakeEnvironment();
  const replaced = atAddress("", "#kitchen");
  assert.equal(await comeBack(env), null);
  leave(env, true);
  atAddress("?login");
  globalThis.fetch = async (url, { method }) => ({ json: async () => ({ login: `${method} ${url}` }) });
  const again = atAddress("?login");
  assert.deepEqual(await comeBack(env), { login: "POST login/result", remember: true });
  assert.deepEqual([replaced, again], [[], ["/chat/#kitchen"]]);
  globalThis.fetch = async () => Promise.reject(new Error("no network"));
  assert.match((await comeBack(env)).error, /Log in again/);
  assert.equal(again.at(-1), "/chat/");
});

test("a password command alone opens a form, and with words it is refused", () => {
  for (const text of ["/login", " /Register ", "/passwd\n"]) assert.equal(parse(text).command, text.trim());
  for (const text of ["/login ann", "/register horse", "/drop", "/passwd a\n/passwd", "/loginhorse"]) {
    assert.match(parse(text).problem, /Others could read a password/);
  }
});
