// @ts-check
// The lists of rooms and people, the heading of the conversation, and the buttons that change them.

import { ask, askText, make } from "./dialog.js";

const IDLE_S = 300;
const MOST_PEOPLE = 1000; // rows; a longer list ends with a count
const OPEN_ROOMS = 50;

const byName = new Intl.Collator("en", { sensitivity: "base", numeric: true }).compare;

/**
 * Return what a person's row says behind the nickname.
 * @param {{away: ?string, since: number}} member @param {number} now in seconds
 */
export function stateOf({ away, since }, now) {
  if (away !== null) return away ? `away: ${away}` : "away";
  const minutes = Math.floor((now - since) / 60);
  if (now - since < IDLE_S) return "";
  return minutes < 60 ? `idle ${minutes} min` : `idle ${Math.floor(minutes / 60)} h`;
}

/** Return the conversations in the order of their list: rooms first. @template {{key: string}} T @param {Iterable<T>} all */
export function sortConversations(all) {
  const rank = (/** @type {T} */ { key }) => Number(key.startsWith("@"));
  return [...all].sort((a, b) => rank(a) - rank(b) || byName(a.key, b.key));
}

export class Sidebar {
  /**
   * @param {import("./chat.js").Chat} chat
   * @param {Record<string, any>} elements
   * @param {import("./current.js").Current} current
   */
  constructor(chat, elements, current) {
    this._chat = chat;
    this._elements = elements;
    this._current = current;
    /** The row of each person, by the session. @type {Map<string, HTMLElement>} */
    this._people = new Map();
    this._frame = 0;

    const changed = () => this._plan();
    for (const name of ["state", "conversation", "members", "topic", "unread"]) chat.addEventListener(name, changed);
    current.addEventListener("show", changed);
    setInterval(changed, 30000); // people become idle
    for (const list of [elements.rooms, elements.people]) {
      list.addEventListener("click", (event) => this._open(event.target.closest("button")));
      list.addEventListener("keydown", moveFocus);
    }
    const buttons = {
      "join-another": () => this._joinRoom(),
      "leave-room": () => this._leave(),
      "set-topic": () => this._setTopic(),
      "set-nick": () => this._setNick(),
      "set-away": () => this._setAway(),
      quit: () => this._quit(),
    };
    for (const [id, act] of Object.entries(buttons)) elements[id].addEventListener("click", act);
    elements.sidebar.addEventListener("keydown", (event) => {
      if (event.key === "Escape") elements["close-sidebar"].click();
    });
  }

  /** Draw once, before the next frame. */
  _plan() {
    this._frame ||= requestAnimationFrame(() => {
      this._frame = 0;
      this.draw();
    });
  }

  draw() {
    const { _chat: chat, _elements: elements, _current: current } = this;
    const conversations = sortConversations(chat.conversations.values());
    if (!chat.conversations.has(current.key ?? "") && conversations.length) {
      current.show(conversations[0].key);
      return;
    }
    const shown = chat.conversations.get(current.key ?? "");
    elements.rooms.replaceChildren(...conversations.map((one) => this._roomRow(one)));
    elements["room-name"].textContent = shown?.room ?? shown?.nick ?? "";
    elements.topic.textContent = shown?.room ? (shown.topic ?? "") : "Private messages";
    elements["set-topic"].hidden = !shown?.room;
    elements["leave-room"].textContent = shown?.room ? `Leave ${shown.room}` : "Close this conversation";
    elements["leave-room"].hidden = !!shown?.room && conversations.filter(({ room }) => room).length < 2;
    elements["own-nick"].textContent = chat.nick;
    elements["set-away"].textContent = this._self(shown)?.away == null ? "Away" : "Back";
    elements["people-section"].hidden = !shown?.room;
    if (shown?.room) this._drawPeople(shown);
  }

  /** @param {any} conversation */
  _roomRow({ key, room, nick, unread, mentioned }) {
    const button = make("button", {}, make("span", { className: "name" }, room ?? `@${nick}`));
    button.dataset.key = key;
    if (key === this._current.key) button.setAttribute("aria-current", "true");
    if (unread) {
      button.classList.toggle("mentioned", mentioned > 0);
      const more = mentioned && room ? ` unread, ${mentioned} for you` : " unread";
      button.append(
        make("span", { className: "count" }, String(unread), make("span", { className: "hidden-text" }, more)),
      );
    }
    return make("li", {}, button);
  }

  /** Bring the list of people up to date. Only rows that have changed are touched. @param {any} conversation */
  _drawPeople({ members, count }) {
    const list = this._elements.people;
    const now = Date.now() / 1000;
    const sorted = [...members.values()].sort((a, b) => byName(a.nick, b.nick));
    this._elements["people-count"].textContent = count.toLocaleString("en");
    const rows = sorted.slice(0, MOST_PEOPLE).map((member) => {
      const row = this._people.get(member.session) ?? make("li", {}, make("button", {}, make("span"), make("span")));
      this._people.set(member.session, row);
      const [nick, state] = /** @type {any} */ (row.firstChild).children;
      const isOwn = member.session === this._chat.session;
      setText(nick, isOwn ? `${member.nick} (you)` : member.nick);
      setText(state, stateOf(member, now));
      const button = /** @type {HTMLButtonElement} */ (row.firstChild);
      button.dataset.nick = member.nick;
      button.classList.toggle("away", member.away !== null);
      button.disabled = isOwn;
      return row;
    });
    if (count > rows.length) rows.push(make("li", { className: "quiet" }, `and ${count - rows.length} more`));
    const kept = new Set(rows);
    for (const [session, row] of this._people) if (!kept.has(row)) this._people.delete(session);
    for (const row of [...list.children]) if (!kept.has(row)) row.remove();
    let next = list.firstChild;
    for (const row of rows) {
      if (row === next) next = next.nextSibling;
      else list.insertBefore(row, next);
    }
    // One stop of Tab for the list; arrow keys move in it.
    const enabled = [...list.querySelectorAll("button:enabled")];
    const stop = enabled.find((button) => button === document.activeElement) ?? enabled[0];
    for (const button of enabled) button.tabIndex = button === stop ? 0 : -1;
  }

  /** @param {any} conversation */
  _self(conversation) {
    return conversation?.members.get(this._chat.session) ?? this._anyRoom()?.members.get(this._chat.session);
  }

  _anyRoom() {
    return [...this._chat.conversations.values()].find(({ room }) => room);
  }

  /** Show the conversation of a row. @param {?HTMLButtonElement} button */
  _open(button) {
    if (button === null) return;
    const { key, nick = "" } = button.dataset;
    this._current.show(key ?? this._chat.openPrivate(nick));
  }

  // Buttons

  async _joinRoom() {
    const { _chat: chat, _elements: elements, _current: current } = this;
    const list = make("ul", { className: "open-rooms" });
    const join = async (/** @type {string} */ name) => {
      const room = name.toLowerCase();
      if (!room) throw new Error("Type the name of a room.");
      await chat.joinRoom(room);
      current.show(room);
    };
    const asked = askText(elements, {
      heading: "Join a room",
      label: "Room",
      hint: "If there is no such room, you open it. A name has a-z, 0-9, _ and -.",
      yes: "Join",
      more: [list],
      submit: join,
    });
    list.addEventListener("click", (event) => {
      const name = /** @type {any} */ (event.target).closest("button")?.dataset.room;
      if (!name) return;
      /** @type {any} */ (document.getElementById("dialog-field")).value = name;
      elements["confirm-yes"].click();
    });
    try {
      const rooms = (await chat.roomList()).filter(({ room }) => !chat.conversations.has(room));
      list.append(
        ...rooms.slice(0, OPEN_ROOMS).map(({ room, members, topic }) => {
          const about = `${members} here${topic ? `: ${topic}` : ""}`;
          const button = make("button", { type: "button" }, room, " ", make("span", { className: "quiet" }, about));
          button.dataset.room = room;
          return make("li", {}, button);
        }),
      );
    } catch {
      // Without the list, the name can still be typed.
    }
    await asked;
  }

  async _leave() {
    const { key } = this._current;
    if (key === null) return;
    if (key.startsWith("@")) {
      this._chat.closePrivate(key);
      return;
    }
    const isSure = await ask(this._elements, {
      heading: `Leave ${key}?`,
      yes: "Leave",
      body: ["Its lines stay on the server. You can join again."],
    });
    if (isSure) await this._chat.leaveRoom(key);
  }

  _setTopic() {
    const key = this._current.key ?? "";
    return askText(this._elements, {
      heading: `Topic of ${key}`,
      label: "Topic",
      value: this._chat.conversations.get(key)?.topic ?? "",
      hint: "Everybody in the room sees it. Without a text, the topic is removed.",
      yes: "Set the topic",
      submit: (text) => this._chat.setTopic(key, text || null),
    });
  }

  _setNick() {
    return askText(this._elements, {
      heading: "Change your nickname",
      label: "New nickname",
      value: this._chat.nick,
      yes: "Change",
      submit: (text) => this._chat.setNick(text),
    });
  }

  _setAway() {
    if (this._self(this._chat.conversations.get(this._current.key ?? ""))?.away != null) {
      return this._chat.setAway(null);
    }
    return askText(this._elements, {
      heading: "Away",
      label: "Reason",
      hint: "People see that you are away. The reason can be empty.",
      yes: "I am away",
      submit: (text) => this._chat.setAway(text),
    });
  }

  async _quit() {
    const isSure = await ask(this._elements, {
      heading: "Leave the chat?",
      yes: "Leave",
      body: ["You leave all rooms."],
    });
    if (isSure) await this._chat.quit();
  }
}

/** Set a text if it differs, because each change costs a layout. @param {Node} node @param {string} text */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Move the focus in a list of buttons with the arrow keys, Home and End. @param {any} event */
function moveFocus(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button:enabled")];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined || !buttons[to]) return;
  event.preventDefault();
  buttons[at].tabIndex = -1;
  buttons[to].tabIndex = 0;
  buttons[to].focus();
}
