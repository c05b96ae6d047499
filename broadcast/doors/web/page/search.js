// The search in the current conversation, and its results.

import { button, make } from "./drawing.js";
import { countOf, momentOf, patternOf } from "./text.js";

/** Return a text in parts, of which each second one is a word of the query, or one of its phrases in double quotes. */
export function splitAt(text, query) {
  const words = [...query.matchAll(/"([^"]+)"|([^\s"]+)/g)].map(([, phrase, word]) => phrase ?? word);
  return words.length ? text.split(new RegExp(`(${words.map(patternOf).join("|")})`, "giu")) : [text];
}

export class Search {
  constructor(chat, elements, current) {
    this.chat = chat;
    this.current = current;
    this.box = elements.search;
    this.results = elements.results;
    this.asked = 0; // only the newest search is shown
    elements["search-form"].addEventListener("submit", (event) => {
      event.preventDefault();
      this.search();
    });
    this.box.addEventListener("input", () => this.box.value || this.close());
    for (const element of [this.box, this.results]) {
      element.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    }
    current.addEventListener("show", ({ detail }) => detail.before !== detail.key && this.close());
  }

  async search() {
    const query = this.box.value.trim();
    const { key } = this.current;
    const asked = (this.asked += 1);
    if (!query || key === null) return;
    this.show("Searching…");
    let heading;
    let rows = [];
    try {
      const lines = await this.chat.search(key, query);
      heading = `${countOf(lines.length || "No", "line")} found in ${key}.`;
      rows = lines.reverse().map((line) => this.row(key, line, query));
    } catch (error) {
      heading = `The search has failed: ${error.message}`;
    }
    if (asked === this.asked) this.show(heading, rows);
  }

  close() {
    this.asked += 1;
    const hadFocus = this.results.contains(document.activeElement);
    this.results.hidden = true;
    this.box.value = "";
    if (hadFocus) this.box.focus();
  }

  show(heading, rows = []) {
    const close = button("Close", () => this.close());
    const status = make("p", "", heading);
    status.role = "status";
    this.results.hidden = false;
    this.results.replaceChildren(make("header", "", status, close), make("ul", "", ...rows));
  }

  row(key, line, query) {
    const parts = splitAt(line.text, query).map((part, index) => (index % 2 ? make("mark", "", part) : part));
    const about = make("span", "quiet", ` ${momentOf(line.at)}: `);
    const content = [make("span", "nick", line.nick), about, ...parts];
    if (!line.seq) return make("li", "", make("p", "", ...content)); // private lines have no place to go to
    const result = make("button", "", ...content);
    result.addEventListener("click", () => this.current.show(key, line.seq));
    return make("li", "", result);
  }
}
