// What a screen reader says about new lines.

const PAUSE_MS = 3000;

/** The hidden region that announces new lines, at most every three seconds. */
export class Announcer {
  /** @param {HTMLElement} region An element with the role `status`. */
  constructor(region) {
    this.region = region;
    this.count = 0;
    this.line = null;
    this.isPausing = false;
  }

  /**
   * Announce a line, now or with the next ones.
   * @param {string} place The conversation, if it is not the one on the screen.
   */
  add(line, place) {
    this.count += 1;
    this.line = { ...line, place };
    if (!this.isPausing) this.speak();
  }

  /** Forget the lines. */
  clear() {
    this.count = 0;
    this.region.textContent = "";
  }

  speak() {
    this.isPausing = this.count > 0;
    if (!this.isPausing) return;
    const { kind, nick, text, file, place } = this.line;
    const line = {
      said: `${nick}: ${text}`,
      told: `${nick}: ${text}`,
      emoted: `${nick} ${text}`,
      shared: `${nick} shared ${file?.name}`,
      announced: `Announcement: ${text}`,
    }[kind];
    const many = this.count > 1 ? `${this.count} new lines, the last: ` : "";
    this.region.textContent = `${many}${place && `In ${place}, `}${line}`;
    this.count = 0;
    setTimeout(() => this.speak(), PAUSE_MS);
  }
}
