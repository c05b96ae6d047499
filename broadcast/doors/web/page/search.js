// @ts-check
// The search in the current conversation, and its results.

import { make } from "./dialog.js";

/** Return the words of a query, for marking them: phrases in double quotes stay whole. @param {string} query */
export function wordsOf(query) {
  return [...query.matchAll(/"([^"]+)"|([^\s"]+)/g)].map(([, phrase, word]) => phrase ?? word);
}

/**
 * Split a text at the words, ignoring case: every second part is one of them.
 * @param {string} text @param {string[]} words
 */
export function splitAt(text, words) {
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return words.length ? text.split(new RegExp(`(${escaped.join("|")})`, "giu")) : [text];
}

export class Search {
  /**
   * @param {import("./chat.js").Chat} chat
   * @param {Record<string, any>} elements
   * @param {import("./current.js").Current} current
   */
  constructor(chat, elements, current) {
    this._chat = chat;
    this._elements = elements;
    this._current = current;
    this._asked = 0; // only the newest search is shown
    elements["search-form"].addEventListener("submit", (event) => {
      event.preventDefault();
      this.search();
    });
    elements.search.addEventListener("input", () => {
      if (!elements.search.value) this.close();
    });
    for (const element of [elements.search, elements.results]) {
      element.addEventListener("keydown", (event) => {
        if (event.key === "Escape") this.close();
      });
    }
    current.addEventListener("show", (event) => {
      if (event.detail.before !== event.detail.key) this.close();
    });
  }

  async search() {
    const query = this._elements.search.value.trim();
    const key = this._current.key;
    const asked = (this._asked += 1);
    if (!query || key === null) return;
    this._show("Searching…", []);
    try {
      const lines = await this._chat.search(key, query);
      if (asked !== this._asked) return;
      const count = lines.length === 1 ? "1 line" : `${lines.length || "No"} lines`;
      const name = key.startsWith("@") ? `the messages with ${key.slice(1)}` : key;
      this._show(`${count} found in ${name}.`, lines.reverse().map((line) => this._row(key, line, wordsOf(query))));
    } catch (error) {
      if (asked === this._asked) this._show(`The search failed: ${error.message}`, []);
    }
  }

  close() {
    this._asked += 1;
    const { results, search } = this._elements;
    if (results.hidden) return;
    const hadFocus = results.contains(document.activeElement);
    results.hidden = true;
    results.replaceChildren();
    search.value = "";
    if (hadFocus) search.focus();
  }

  /** @param {string} heading @param {Node[]} rows */
  _show(heading, rows) {
    const { results } = this._elements;
    const close = make("button", { className: "icon", type: "button" }, "✕");
    close.setAttribute("aria-label", "Close the results");
    close.addEventListener("click", () => this.close());
    const status = make("p", {}, heading);
    status.setAttribute("role", "status");
    results.hidden = false;
    results.replaceChildren(make("header", {}, status, close), make("ul", {}, ...rows));
  }

  /** @param {string} key @param {any} line @param {string[]} words */
  _row(key, line, words) {
    const at = new Date(line.at * 1000);
    const time = make("time", { dateTime: at.toISOString() }, at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
    const text = splitAt(line.text, words).map((part, index) => (index % 2 ? make("mark", {}, part) : part));
    const button = make("button", { type: "button" }, make("b", {}, line.nick), " ", time, " ", make("span", {}, ...text));
    button.addEventListener("click", () => this._jump(key, line, button));
    return make("li", {}, button);
  }

  /** Show the place of a line. @param {string} key @param {any} line @param {any} button */
  async _jump(key, line, button) {
    if (line.seq === null || line.seq === undefined) return;
    button.setAttribute("aria-busy", "true");
    try {
      await this._chat.around(key, line.seq);
      for (const other of this._elements.results.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      this._current.show(key, line.seq);
    } catch (error) {
      this._show(`The place cannot be shown: ${error.message}`, []);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }
}
