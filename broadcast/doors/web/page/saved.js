// @ts-check
// What a reload of this tab needs, in sessionStorage, and who else uses it: a duplicated tab has a copy.

const ANSWER_MS = 300;

export class SavedSession {
  /** @param {any} env see `environment.js` @param {string} name distinguishes servers at the same origin */
  constructor(env, name) {
    this._env = env;
    this._key = `broadcast:${name}`;
    this._holds = ""; // the session that this tab holds
    this._onAnswer = () => {};
    this._channel = env.BroadcastChannel ? new env.BroadcastChannel(this._key) : null;
    if (this._channel) {
      this._channel.onmessage = (/** @type {{data: any}} */ { data }) => {
        if (data.ask && data.ask === this._holds) this._channel.postMessage({ held: data.ask });
        if (data.held && data.held === this._asked) this._onAnswer();
      };
    }
    this._asked = "";
  }

  /** Return what this tab has saved, or null. */
  load() {
    try {
      return JSON.parse(this._env.session.getItem(this._key) ?? "null");
    } catch {
      return null;
    }
  }

  /** Save `state`. `isInUse` is false while the page is being left, so that a reload can tell itself from a copy. */
  save(/** @type {any} */ state, isInUse = true) {
    this._holds = state.session;
    try {
      this._env.session.setItem(this._key, JSON.stringify({ ...state, isInUse }));
    } catch {
      // The storage is full: a reload begins anew.
    }
  }

  clear() {
    this._holds = "";
    this._env.session.removeItem(this._key);
  }

  /** Hold the session no longer, so that another tab is not told that it is used here. */
  release() {
    this._holds = "";
  }

  /**
   * Find out whether another tab holds the session that `saved` describes. A reload knows at once. A crashed or a
   * duplicated tab does not, and asks.
   * @param {any} saved @returns {Promise<boolean>}
   */
  isHeldElsewhere(saved) {
    if (!saved.isInUse || !this._channel) return Promise.resolve(false);
    return new Promise((resolve) => {
      this._asked = saved.session;
      this._onAnswer = () => resolve(true);
      this._channel.postMessage({ ask: saved.session });
      this._env.setTimeout(() => resolve(false), ANSWER_MS);
    });
  }
}
