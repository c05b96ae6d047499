// @ts-check
// What a screen reader says about new lines.

import { clockOf } from "./times.js";

const PAUSE_MS = 3000;

/** The hidden region that announces new lines, at most every three seconds. */
export class Announcer {
  /**
   * @param {HTMLElement} region An element with the role `status`.
   */
  constructor(region) {
    this.region = region;
    this.count = 0;
    /** @type {any} */
    this.line = null;
    this.isPausing = false;
  }

  /**
   * Announce a line, now or with the next ones.
   * @param {any} line
   */
  add(line) {
    this.count += 1;
    this.line = line;
    if (!this.isPausing) this.speak();
  }

  /** Announce the lines that have come, then pause. */
  speak() {
    this.isPausing = this.count > 0;
    if (!this.isPausing) return;
    const { kind, nick, at, text, file } = this.line;
    const content = kind === "shared" ? `shared ${file?.name}` : text;
    const who = kind === "announced" ? "Announcement" : `${nick}${kind === "shared" || kind === "emoted" ? "" : ":"}`;
    const many = this.count > 1 ? `${this.count} new lines, the last at ${clockOf(at ?? Date.now() / 1000)}: ` : "";
    this.region.textContent = `${many}${who} ${content}`;
    this.count = 0;
    setTimeout(() => this.speak(), PAUSE_MS);
  }
}
