// What the chat uses of the browser. Tests pass another object with the same members.

/** Return a storage area, or a substitute in memory where the browser denies it. */
function storage(name) {
  try {
    window[name].getItem("");
    return window[name];
  } catch {
    const values = new Map();
    return {
      getItem: (key) => values.get(key) ?? null,
      setItem: (key, value) => values.set(key, value),
      removeItem: (key) => values.delete(key),
    };
  }
}

/** Return a stored value, or `otherwise` if there is none or it is damaged. */
export function load(area, key, otherwise) {
  try {
    return JSON.parse(area.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Store a value. In a full storage, an earlier one stays. */
export function store(area, key, value) {
  try {
    area.setItem(key, JSON.stringify(value));
  } catch {
    // It is full.
  }
}

/** Return 128 random bits. `crypto.randomUUID` exists in secure contexts only. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function browserEnvironment() {
  return {
    WebSocket: window.WebSocket,
    BroadcastChannel: window.BroadcastChannel,
    locks: navigator.locks,
    page: window,
    document,
    local: storage("localStorage"),
    session: storage("sessionStorage"),
    now: () => Date.now(),
    random: () => Math.random(),
    randomId,
    isOnline: () => navigator.onLine,
    setTimeout: (call, ms) => window.setTimeout(call, ms),
    clearTimeout: (timer) => window.clearTimeout(timer),
  };
}
