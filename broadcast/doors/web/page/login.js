// Logins with the provider of the server: the page leaves for the provider, and comes back.

import { load, store } from "./environment.js";

const KEY = "broadcast:login";

/** Note, before the page is left, where it goes on and what was chosen. */
export function leave(env, remember) {
  store(env.session, KEY, { hash: location.hash, remember });
}

/**
 * Return the result of a login if the browser comes back from one: a one-time login, or an error. Otherwise null.
 * @returns {Promise<?{login?: string, error?: string, remember?: boolean}>}
 */
export async function comeBack(env) {
  if (location.search !== "?login") return null;
  const { hash = "", remember = false } = load(env.session, KEY, {});
  env.session.removeItem(KEY);
  history.replaceState(null, "", location.pathname + hash);
  try {
    const reply = await fetch("login/result", { method: "POST" });
    return { ...(await reply.json()), remember };
  } catch {
    return { error: "The server cannot be reached. Log in again." };
  }
}
