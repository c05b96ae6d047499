// @ts-check
// The logins that this browser remembers, by nickname: secrets that the server takes in place of the password.

const KEY = "broadcast:logins";

/** @param {any} env @returns {Record<string, string>} */
function load(env) {
  try {
    return JSON.parse(env.local.getItem(KEY) ?? "{}");
  } catch {
    return {};
  }
}

/** Return the nicknames, in lower case, as which this browser is logged in. @param {any} env */
export const loggedIn = (env) => Object.keys(load(env));

/** Return the login for a nickname; empty if there is none. @param {any} env @param {string} nick */
export function loginOf(env, nick) {
  const logins = load(env);
  return Object.hasOwn(logins, nick.toLowerCase()) ? logins[nick.toLowerCase()] : "";
}

/** Remember a login, or forget it if it is empty. @param {any} env @param {string} nick @param {string} login */
export function setLogin(env, nick, login) {
  const { [nick.toLowerCase()]: _, ...others } = load(env);
  try {
    env.local.setItem(KEY, JSON.stringify(login ? { ...others, [nick.toLowerCase()]: login } : others));
  } catch {
    // The storage is full: the password is asked for again.
  }
}
