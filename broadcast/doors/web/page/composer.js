// The box in which messages are typed: sending, suggestions, drafts and earlier messages.

import { COMMAND_NAMES, run } from "./commands.js";
import { ask } from "./dialog.js";
import { make, setText } from "./drawing.js";
import { load, store } from "./environment.js";
import { countOf } from "./text.js";
import { byteLength, linesOf, nicknamesOf, parse, suggest } from "./typing.js";

const MANY_LINES = 5; // more are sent only after a question
const MOST_SENT = 100;
const MOST_ROWS = 8;
const NEARLY = 200; // the limit of a line is shown when fewer bytes are left
const DRAFTS = "broadcast:drafts";

const count = (number) => number.toLocaleString("en");

export class Composer {
  constructor(chat, elements, current) {
    this.chat = chat;
    this.elements = elements;
    this.current = current;
    this.box = elements.message;
    this.list = elements.suggestions;
    /** The unsent text of each conversation. @type {Map<string, string>} */
    this.drafts = new Map(load(chat.env.session, DRAFTS, []));
    /** The messages that were sent, the newest last. */
    this.sent = [];
    this.recalled = -1; // the index of the sent message that the box shows
    /** @type {ReturnType<typeof suggest>} */
    this.suggested = null;
    this.chosen = -1; // the suggestion that the arrow keys have chosen
    this.dismissed = -1; // the start of the word whose suggestions were closed

    const { box, list } = this;
    elements.composer.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    box.addEventListener("keydown", (event) => this.press(event));
    box.addEventListener("input", () => this.typed());
    box.addEventListener("blur", () => this.close());
    // A tap on a suggestion or on Send must not close the keyboard of a phone.
    for (const element of [list, elements.send]) {
      element.addEventListener("pointerdown", (event) => event.preventDefault());
      element.addEventListener("mousedown", (event) => event.preventDefault());
    }
    list.addEventListener("click", (event) => this.complete([...list.children].indexOf(event.target.closest("li"))));
    current.addEventListener("show", (event) => this.show(event.detail.before));
    chat.addEventListener("conversation", ({ detail: { from, key } }) => from && this.moveDraft(from, key));
    chat.addEventListener("problem", ({ detail: { method, message } }) => {
      // All others stand where they belong: in the join form, a dialog, the results or the row of an upload.
      if (!elements.confirm.open && !["hello", "search", "history", "upload"].includes(method)) this.note(message, true);
    });
    chat.addEventListener("private", () => this.forgetPrivate());
    for (const name of ["pagehide", "visibilitychange"]) addEventListener(name, () => this.saveDrafts());
  }

  /** Send what is in the box. After a failure, the text comes back. */
  async send() {
    const key = this.current.key ?? "";
    const text = this.box.value;
    const { lines, command, problem } = parse(text);
    if (problem) this.note(problem, true);
    if (problem || !lines.length || this.isTooLong()) return;
    if (lines.length > MANY_LINES && !(await this.confirm(lines))) return;
    this.sent = [...this.sent.filter((one) => one !== text), text].slice(-MOST_SENT);
    this.set("");
    try {
      const opened = command && (await run(this.chat, key, command));
      if (opened) this.current.show(opened);
      if (!command) await Promise.all(lines.map((line) => this.chat.say(key, line)));
    } catch (error) {
      this.giveBack(key, text, error.message);
    }
  }

  confirm(lines) {
    const number = count(lines.length);
    const preview = make("pre", "preview", lines.join("\n"));
    preview.tabIndex = 0;
    const body = ["Each line becomes a message of its own.", preview];
    return ask(this.elements, { heading: `Send ${number} lines?`, yes: `Send ${number} lines`, body });
  }

  giveBack(key, text, problem) {
    const isHere = key === this.current.key;
    if (isHere && !this.box.value) this.set(text);
    else if (!isHere && !this.drafts.get(key)) this.drafts.set(key, text);
    else problem += " In an empty box, Up brings the text back.";
    this.note(`Not sent: ${problem}`, true);
  }

  // Keys

  press(event) {
    if (event.isComposing || event.keyCode === 229) return; // the key belongs to an input method
    const { key, shiftKey } = event;
    const isOpen = this.suggested !== null;
    const step = { ArrowUp: -1, ArrowDown: 1 }[key];
    if (key === "Enter" && !shiftKey) {
      if (this.chosen >= 0) this.complete(this.chosen);
      else this.send();
    } else if (isOpen && key === "Tab" && !shiftKey) {
      this.complete(Math.max(this.chosen, 0));
    } else if (isOpen && key === "Escape") {
      this.dismissed = this.suggested?.from ?? -1;
      this.close();
    } else if (isOpen && step) {
      this.choose(this.chosen + step);
    } else if (!step || shiftKey || !this.recall(step)) {
      return;
    }
    event.preventDefault();
  }

  /** Show an earlier or later message if the box is empty or shows one unchanged. */
  recall(step) {
    const isRecalled = this.recalled >= 0 && this.box.value === this.sent[this.recalled];
    const next = isRecalled ? this.recalled + step : this.sent.length - 1;
    if (next < 0 || (!isRecalled && (this.box.value || step > 0))) return false;
    this.set(this.sent[next] ?? "");
    this.recalled = next;
    return true;
  }

  // Text

  /** Put a text into the box, with the caret at its end. */
  set(text) {
    this.box.value = text;
    this.box.setSelectionRange(text.length, text.length);
    this.recalled = -1;
    this.close();
    this.measure();
  }

  typed() {
    this.measure();
    this.suggest();
  }

  /** Fit the box to its text, and show the limit of a line if it is near. */
  measure() {
    this.box.rows = Math.min(this.box.value.split("\n").length, MOST_ROWS);
    if (!this.isTooLong()) this.note(this.left < NEARLY ? `${count(this.left)} bytes are left in this line.` : "");
  }

  /** Return whether a line of the text is too long, and show it. */
  isTooLong() {
    const limit = this.chat.welcome?.limits.line_bytes ?? 4096;
    const { value } = this.box;
    // A character has at most three bytes for each of its units.
    const size = value.length * 3 < limit - NEARLY ? 0 : Math.max(0, ...linesOf(value).map(byteLength));
    this.left = limit - size;
    if (this.left >= 0) return false;
    const problem = `A line holds at most ${count(limit)} bytes, and this one has ${count(size)}.`;
    this.note(`${problem} Shorten it, or break it with Shift+Enter.`, true);
    return true;
  }

  /** Show a text above the box. */
  note(text, isError = false) {
    const note = this.elements["message-note"];
    setText(note, text);
    note.classList.toggle("error", isError);
    this.box.ariaInvalid = String(isError);
  }

  // Drafts

  /** Put the draft of another conversation into the box. */
  show(before) {
    const { key } = this.current;
    this.box.placeholder = key?.startsWith("@") ? `Message to ${key.slice(1)} only` : `Message to ${key}`;
    if (before === key) return;
    if (before !== null) this.drafts.set(before, this.box.value);
    this.set(this.drafts.get(key ?? "") ?? "");
    if (matchMedia("(pointer: fine)").matches) this.box.focus(); // on a phone, it would open the keyboard
  }

  /** Move the draft to the new nickname of the other person. */
  moveDraft(from, key) {
    const draft = this.current.key === from ? this.box.value : this.drafts.get(from);
    this.drafts.delete(from);
    if (!draft) return;
    this.drafts.set(key, draft);
    if (this.current.key === key) this.set(draft);
  }

  /** Forget what was typed in private conversations. */
  forgetPrivate() {
    if (this.current.key?.startsWith("@")) this.set("");
    this.drafts = new Map([...this.drafts].filter(([key]) => !key.startsWith("@")));
    this.sent = [];
    this.saveDrafts();
  }

  saveDrafts() {
    if (this.current.key !== null) this.drafts.set(this.current.key, this.box.value);
    store(this.chat.env.session, DRAFTS, [...this.drafts].filter(([, text]) => text));
  }

  // Suggestions

  /** Open or close the suggestions for the word before the caret. */
  suggest() {
    const { chat, box, list } = this;
    const conversation = chat.conversations.get(this.current.key);
    this.close();
    if (!conversation || box.selectionStart !== box.selectionEnd) return;
    const suggested = suggest(box.value, box.selectionStart, nicknamesOf(conversation, chat.nick), COMMAND_NAMES);
    if (suggested?.from !== this.dismissed) this.dismissed = -1;
    if (!suggested || this.dismissed >= 0) return;
    this.suggested = suggested;
    list.replaceChildren(
      ...suggested.words.map((word, index) => {
        const option = make("li", "", word.trim().replace(/:$/, ""));
        option.id = `suggestion-${index}`;
        option.role = "option";
        return option;
      }),
    );
    list.hidden = false;
    this.choose(-1);
    const number = countOf(suggested.words.length, "suggestion");
    this.elements["suggestion-count"].textContent = `${number}. Tab completes ${list.firstChild.textContent}.`;
  }

  /** Choose a suggestion, or none beyond their ends. */
  choose(index) {
    const options = [...this.list.children];
    this.chosen = index < -1 ? options.length - 1 : index < options.length ? index : -1;
    options.forEach((option, at) => (option.ariaSelected = String(at === this.chosen)));
    options[this.chosen]?.scrollIntoView({ block: "nearest" });
    this.box.setAttribute("aria-activedescendant", options[this.chosen]?.id ?? "");
  }

  complete(index) {
    if (!this.suggested || index < 0) return;
    const { from, words } = this.suggested;
    this.box.setSelectionRange(from, this.box.selectionStart);
    document.execCommand("insertText", false, words[index]); // unlike setRangeText, it can be undone
    this.close();
  }

  close() {
    if (!this.suggested) return;
    this.suggested = null;
    this.chosen = -1;
    this.list.hidden = true;
    this.box.removeAttribute("aria-activedescendant");
    this.elements["suggestion-count"].textContent = "";
  }
}
