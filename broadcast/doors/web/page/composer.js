// @ts-check
// The box in which a message is typed: sending, commands, suggestions, drafts and earlier messages.

import { ask, make } from "./dialog.js";
import { byteLength, commandsOf, linesOf, MANY_LINES, nicknamesOf, parse, suggest } from "./typing.js";

const DRAFTS = "broadcast.drafts";
const MOST_SENT = 100;
const MOST_ROWS = 8;
const NEARLY = 200; // bytes that are left when the limit is shown

export class Composer {
  /**
   * @param {import("./chat.js").Chat} chat
   * @param {Record<string, any>} elements
   * @param {import("./current.js").Current} current
   */
  constructor(chat, elements, current) {
    this._chat = chat;
    this._elements = elements;
    this._current = current;
    this._box = elements.message;
    this._list = elements.suggestions;
    /** The unsent text of each conversation, by its key. @type {Map<string, string>} */
    this._drafts = new Map(Object.entries(JSON.parse(chat.env.session.getItem(DRAFTS) ?? "{}")));
    /** Messages that were sent, the newest last. @type {string[]} */
    this._sent = [];
    this._recalled = -1; // an index of `_sent`, or -1
    /** @type {ReturnType<typeof suggest>} */
    this._suggested = null;
    this._active = -1; // the suggestion that the arrow keys have chosen
    this._dismissed = -1; // the start of the word whose suggestions were closed
    /** @type {ReturnType<typeof commandsOf>} */
    this._commands = [];
    this._isComposing = false;

    const { _box: box } = this;
    box.setAttribute("aria-autocomplete", "list");
    box.setAttribute("aria-controls", this._list.id);
    box.setAttribute("aria-describedby", "message-note");
    elements.composer.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    box.addEventListener("keydown", (event) => this._press(event));
    box.addEventListener("input", (event) => this._change(event.isComposing));
    box.addEventListener("blur", () => this._close());
    box.addEventListener("compositionend", () => this._change(false));
    // Without this, a tap on a suggestion or on Send would close the keyboard of a phone.
    for (const element of [this._list, elements.send]) {
      element.addEventListener("pointerdown", (event) => event.preventDefault());
    }
    this._list.addEventListener("click", (event) => {
      const index = [...this._list.children].indexOf(event.target.closest("li"));
      if (index >= 0) this._complete(index);
    });
    current.addEventListener("show", (event) => this._show(event.detail.before));
    for (const name of ["pagehide", "visibilitychange"]) addEventListener(name, () => this._keepDrafts(), true);
  }

  /** Send what is in the box. It comes back if that fails. */
  async send() {
    const text = this._box.value;
    const key = this._current.key;
    const { name, argument, lines } = parse(text);
    if (!name || key === null) return;
    if (name === "refused") {
      this._note(argument, true);
      return;
    }
    if (this._tooLong(text)) return;
    if (lines.length > MANY_LINES && !(await this._confirm(lines))) {
      this._box.focus();
      return;
    }
    if (this._box.value === text) this._set("");
    this._sent = [...this._sent.filter((sent) => sent !== text), text].slice(-MOST_SENT);
    this._note("");
    try {
      await this._run(name, argument, lines, key);
    } catch (error) {
      this._restore(key, text, error);
    }
  }

  /** @param {string[]} lines */
  _confirm(lines) {
    const preview = make("pre", { className: "preview", tabIndex: 0 }, lines.join("\n"));
    preview.setAttribute("aria-label", "The lines");
    return ask(this._elements, {
      heading: `Send ${lines.length.toLocaleString("en")} lines?`,
      yes: `Send ${lines.length.toLocaleString("en")} lines`,
      body: ["Everybody here reads each of them as a message of its own.", preview],
    });
  }

  /** Give a text back that was not sent. @param {string} key @param {string} text @param {any} error */
  _restore(key, text, error) {
    const isHere = key === this._current.key;
    const old = isHere ? this._box.value : (this._drafts.get(key) ?? "");
    if (!old && isHere) this._set(text);
    else if (!old) this._drafts.set(key, text);
    this._note(`Not sent: ${error.message}${old ? " Empty the box and press Up: the text comes back." : ""}`, true);
  }

  /** @param {string} name @param {string} argument @param {string[]} lines @param {string} key */
  async _run(name, argument, lines, key) {
    const chat = this._chat;
    const isPrivate = key.startsWith("@");
    const [word = "", rest = ""] = argument.split(/\s+(.*)/s);
    const need = (/** @type {unknown} */ value, /** @type {string} */ problem) => {
      if (!value) throw new Error(problem);
    };
    switch (name) {
      case "say":
        await this._all(lines.map((line) => (isPrivate ? chat.tell(key.slice(1), line) : chat.say(key, line))));
        break;
      case "me":
        need(argument, "Type what you do: /me waves");
        need(!isPrivate, "/me is for rooms.");
        await chat.emote(key, argument);
        break;
      case "msg":
        need(word, "Type a nickname: /msg NAME TEXT");
        this._current.show(chat.openPrivate(word));
        if (rest) await chat.tell(word, rest);
        break;
      case "reply": {
        const author = this._lastAuthor();
        need(author, "Nobody has written to you yet.");
        need(argument, "Type the reply: /reply TEXT");
        this._current.show(chat.openPrivate(author));
        await chat.tell(author, argument);
        break;
      }
      case "join":
        need(word, "Type a room: /join ROOM");
        await chat.joinRoom(word.toLowerCase());
        this._current.show(word.toLowerCase());
        break;
      case "leave":
        await chat.leaveRoom(word || key);
        break;
      case "topic":
        need(!isPrivate, "A private conversation has no topic.");
        if (argument) await chat.setTopic(key, argument);
        else this._note(chat.conversations.get(key)?.topic ?? "There is no topic. /topic TEXT sets one.");
        break;
      case "nick":
        need(word, "Type a nickname: /nick NAME");
        await chat.setNick(word);
        this._note(`You are ${chat.nick}.`);
        break;
      case "away":
        await chat.setAway(argument);
        this._note(argument ? `You are away: ${argument}` : "You are away. /back ends that.");
        break;
      case "back":
        await chat.setAway(null);
        this._note("Welcome back.");
        break;
      case "quit":
        await chat.quit(argument || null);
        break;
      default:
        await chat.command(key, argument);
    }
  }

  /** Wait for all, and then fail as the first that failed. @param {Promise<unknown>[]} sent */
  async _all(sent) {
    const failed = (await Promise.allSettled(sent)).find((result) => result.status === "rejected");
    if (failed) throw /** @type {PromiseRejectedResult} */ (failed).reason;
  }

  /** Return the nickname of the author of the newest private message to this person, or an empty text. */
  _lastAuthor() {
    let last = { at: 0, nick: "" };
    for (const { key, lines } of this._chat.conversations.values()) {
      if (!key.startsWith("@")) continue;
      for (const line of lines) {
        if (line.kind === "told" && line.nick !== this._chat.nick && line.at >= last.at) last = line;
      }
    }
    return last.nick;
  }

  // Keys

  /** @param {KeyboardEvent} event */
  _press(event) {
    if (event.isComposing || event.keyCode === 229) return; // Enter ends the composition of an input method
    const isOpen = this._suggested !== null;
    const { key } = event;
    if (key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      if (isOpen && this._active >= 0) this._complete(this._active);
      else this.send();
    } else if (isOpen && key === "Tab" && !event.shiftKey) {
      event.preventDefault();
      this._complete(Math.max(this._active, 0));
    } else if (isOpen && key === "Escape") {
      event.preventDefault();
      this._dismissed = this._suggested?.from ?? -1;
      this._close();
    } else if (isOpen && (key === "ArrowUp" || key === "ArrowDown")) {
      event.preventDefault();
      this._choose(this._active + (key === "ArrowDown" ? 1 : -1));
    } else if (key === "ArrowUp" && !event.shiftKey) {
      this._recall(event, -1);
    } else if (key === "ArrowDown" && !event.shiftKey) {
      this._recall(event, 1);
    }
  }

  /** Show an earlier or a later message, if the box is empty or shows one without a change. */
  _recall(/** @type {KeyboardEvent} */ event, /** @type {number} */ step) {
    const { value } = this._box;
    const isUnchanged = this._recalled >= 0 && value === this._sent[this._recalled];
    if (value && !isUnchanged) return;
    const next = isUnchanged ? this._recalled + step : this._sent.length - 1;
    if (next < 0 || (!isUnchanged && step > 0)) return;
    event.preventDefault();
    this._set(this._sent[next] ?? "");
    this._recalled = next < this._sent.length ? next : -1;
  }

  // Text

  /** Put a text into the box, with the caret at its end. @param {string} text */
  _set(text) {
    this._box.value = text;
    this._box.setSelectionRange(text.length, text.length);
    this._recalled = -1;
    this._close();
    this._measure();
  }

  /** @param {boolean} isComposing */
  _change(isComposing) {
    this._measure();
    if (!isComposing) this._suggest();
  }

  /** Fit the box to the text, and show the limit of a line if it is near. */
  _measure() {
    const { value } = this._box;
    this._box.rows = Math.min(value.split("\n").length, MOST_ROWS);
    if (!this._tooLong(value)) this._note(this._nearLimit);
  }

  /** Show an error if a line of the text is too long. Return whether it is. @param {string} text */
  _tooLong(text) {
    const limit = this._chat.limits?.line_bytes ?? 4096;
    this._nearLimit = "";
    if (text.length * 3 < limit - NEARLY) return false;
    const size = Math.max(0, ...linesOf(text).map(byteLength));
    const count = (/** @type {number} */ bytes) => bytes.toLocaleString("en");
    if (size > limit) {
      const over = `The longest line has ${count(size)} bytes, and ${count(limit)} are possible.`;
      this._note(`${over} Remove ${count(size - limit)}, or break the line with Shift+Enter.`, true);
      return true;
    }
    if (size > limit - NEARLY) this._nearLimit = `${count(limit - size)} bytes are left in this line.`;
    return false;
  }

  /** Show a text above the box. @param {string} text */
  _note(text, isError = false) {
    const note = this._elements["message-note"];
    if (note.textContent !== text) note.textContent = text;
    note.classList.toggle("error", isError);
    if (isError) this._box.setAttribute("aria-invalid", "true");
    else this._box.removeAttribute("aria-invalid");
  }

  // Drafts

  /** @param {?string} before The key of the conversation that was shown before. */
  _show(before) {
    if (before === this._current.key) return;
    if (before !== null) this._drafts.set(before, this._box.value);
    this._set(this._drafts.get(this._current.key ?? "") ?? "");
    // On a phone, the focus would open the keyboard.
    if (matchMedia("(pointer: fine)").matches) this._box.focus();
  }

  /** Store the drafts for a reload of the page. */
  _keepDrafts() {
    if (this._current.key !== null) this._drafts.set(this._current.key, this._box.value);
    const drafts = [...this._drafts].filter(([, text]) => text);
    try {
      this._chat.env.session.setItem(DRAFTS, JSON.stringify(Object.fromEntries(drafts)));
    } catch {
      // The storage is full: the drafts live until the page ends.
    }
  }

  // Suggestions

  /** Open, change or close the suggestions for the word before the caret. */
  _suggest() {
    const { value, selectionStart, selectionEnd } = this._box;
    const conversation = this._chat.conversations.get(this._current.key ?? "");
    this._close();
    if (!conversation || selectionStart !== selectionEnd) return;
    if (value.startsWith("/") && !this._commands.length) this._askCommands();
    const suggested = suggest(value, selectionStart, nicknamesOf(conversation, this._chat.nick), this._commands);
    if (suggested?.from !== this._dismissed) this._dismissed = -1;
    else return;
    if (suggested === null) return;
    this._suggested = suggested;
    this._list.replaceChildren(
      ...suggested.words.map(({ label, help }, index) => {
        const option = make("li", { id: `suggestion-${index}` }, label, make("span", { className: "quiet" }, help));
        option.setAttribute("role", "option");
        option.setAttribute("aria-selected", "false");
        return option;
      }),
    );
    this._list.hidden = false;
    const count = suggested.words.length;
    const first = `Tab completes ${suggested.words[0].label}.`;
    this._elements["suggestion-count"].textContent = `${count === 1 ? "1 suggestion" : `${count} suggestions`}. ${first}`;
  }

  /** Ask the server for its commands, once. */
  async _askCommands() {
    this._commands = [{ name: "help", usage: "/help", help: "lists the commands" }];
    try {
      this._commands = commandsOf(await this._chat.answer("/help"));
      this._suggest();
    } catch {
      this._commands = [];
    }
  }

  /** Choose a suggestion; beyond the ends, none. @param {number} index */
  _choose(index) {
    const options = [...this._list.children];
    const count = options.length + 1; // none is one of the choices
    this._active = ((index + 1 + count) % count) - 1;
    options.forEach((option, at) => option.setAttribute("aria-selected", String(at === this._active)));
    options[this._active]?.scrollIntoView({ block: "nearest" });
    if (this._active < 0) this._box.removeAttribute("aria-activedescendant");
    else this._box.setAttribute("aria-activedescendant", options[this._active].id);
  }

  /** Put a suggestion into the text. @param {number} index */
  _complete(index) {
    if (this._suggested === null) return;
    const { from, words } = this._suggested;
    this._close();
    // The whole word is replaced as if it was typed, so that the browser's undo knows it.
    this._box.setSelectionRange(from, this._box.selectionStart);
    document.execCommand("insertText", false, words[index].text);
    this._close();
  }

  _close() {
    this._suggested = null;
    this._active = -1;
    if (this._list.hidden) return;
    this._list.hidden = true;
    this._list.replaceChildren();
    this._box.removeAttribute("aria-activedescendant");
    this._elements["suggestion-count"].textContent = "";
  }
}
