// @ts-check
// Times and days as people read them, in the time zone of the browser.

// 24 hours, as on the other doors. The narrow column has no place for more.
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long" });

/**
 * Return the time of the day.
 * @param {number} at Seconds since the epoch.
 */
export function clockOf(at) {
  return clock.format(at * 1000);
}

/** Return the day with its year. */
function dateOf(/** @type {number} */ at) {
  return `${day.format(at * 1000)} ${new Date(at * 1000).getFullYear()}`;
}

/**
 * Return the day and the time.
 * @param {number} at Seconds since the epoch.
 */
export function momentOf(at) {
  return `${dateOf(at)}, ${clockOf(at)}`;
}

/**
 * Return a number that is the same for all moments of one day and one more the day after.
 * @param {number} at Seconds since the epoch.
 */
export function dayOf(at) {
  const date = new Date(at * 1000);
  return Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86_400_000;
}

/**
 * Return the name of a day: *Today*, *Yesterday*, or its date.
 * @param {number} at Seconds since the epoch.
 * @param {number} now Seconds since the epoch.
 */
export function dayName(at, now) {
  const ago = dayOf(now) - dayOf(at);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  const isThisYear = new Date(at * 1000).getFullYear() === new Date(now * 1000).getFullYear();
  return isThisYear ? day.format(at * 1000) : dateOf(at);
}
