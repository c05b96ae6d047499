// The logins that this browser remembers, by nickname: secrets that the server takes in place of the password.

import { load, store } from "./environment.js";

const KEY = "broadcast:logins";

const all = (env) => load(env.local, KEY, {});

/** Return the nicknames, in lower case, as which this browser is logged in. */
export const loggedIn = (env) => Object.keys(all(env));

/** Return the login for a nickname; empty if there is none. */
export function loginOf(env, nick) {
  const logins = all(env);
  return Object.hasOwn(logins, nick.toLowerCase()) ? logins[nick.toLowerCase()] : "";
}

/** Forget the login for a nickname here, and end it on the server. Return whether the server has ended it. */
export async function endLogin(env, nick) {
  const headers = { Authorization: `Bearer ${loginOf(env, nick)}` };
  setLogin(env, nick, "");
  const reply = await fetch(`logout?nick=${encodeURIComponent(nick)}`, { method: "POST", headers }).catch(() => null);
  return reply?.ok ?? false;
}

/** Remember a login, or forget it if it is empty. */
export function setLogin(env, nick, login) {
  const { [nick.toLowerCase()]: _, ...others } = all(env);
  store(env.local, KEY, login ? { ...others, [nick.toLowerCase()]: login } : others);
}
