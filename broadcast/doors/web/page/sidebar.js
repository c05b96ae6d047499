// The lists of rooms and people, the heading of the conversation, and the buttons that change them.

import { ask } from "./dialog.js";
import { make } from "./drawing.js";
import { roomOf } from "./join.js";

const IDLE_S = 300;
const MOST_PEOPLE = 1000; // rows
const MOST_ROOMS = 50; // of those that can be joined
const PEOPLE_MS = 250; // the list of people is drawn at most so often

const compare = new Intl.Collator("en", { sensitivity: "base", numeric: true }).compare;

/**
 * Return what stands behind a nickname.
 * @param {number} now Seconds since the epoch.
 */
export function stateOf({ away, since }, now) {
  if (away !== null) return away ? `away: ${away}` : "away";
  if (now - since < IDLE_S) return "";
  const minutes = Math.floor((now - since) / 60);
  return minutes < 60 ? `idle ${minutes} min` : `idle ${Math.floor(minutes / 60)} h`;
}

/** Return the conversations as they are listed: the rooms, then the private ones. */
export function inOrder(conversations) {
  return [...conversations].sort((a, b) => Number(a.room === null) - Number(b.room === null) || compare(a.key, b.key));
}

export class Sidebar {
  constructor(chat, elements, current) {
    this.chat = chat;
    this.elements = elements;
    this.current = current;
    /** The rows of both lists, by list and id. @type {Map<string, any>} */
    this.rows = new Map();
    this.listed = null; // the key of the conversation whose row was scrolled into view
    this.isDue = false;
    this.peopleTimer = 0;

    for (const name of ["state", "nick", "conversation", "topic", "unread"]) {
      chat.addEventListener(name, (event) => this.schedule(event.detail));
    }
    chat.addEventListener("members", ({ detail }) => detail.key === current.key && this.schedulePeople());
    current.addEventListener("show", () => {
      this.schedule({});
      this.drawPeople();
    });
    setInterval(() => this.schedulePeople(), 30_000); // people become idle
    for (const list of [elements.rooms, elements.people]) {
      list.addEventListener("click", ({ target }) => this.open(target.closest("li")?.item));
      list.addEventListener("keydown", moveFocus);
    }
    document.addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && !elements.confirm.open) elements["close-sidebar"].click();
    });
    const buttons = { "join-another": "join", "leave-room": "leave", "set-topic": "setTopic", "set-nick": "setNick" };
    for (const [id, method] of Object.entries({ ...buttons, "set-away": "setAway", quit: "quit" })) {
      elements[id].addEventListener("click", () => this[method]());
    }
  }

  get shown() {
    return this.chat.conversations.get(this.current.key);
  }

  /** Draw before the next frame. */
  schedule({ from, key }) {
    if (from && from === this.current.key) this.current.show(key ?? from); // the other person has a new nickname
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw();
    });
  }

  schedulePeople() {
    this.peopleTimer ||= setTimeout(() => this.drawPeople(), PEOPLE_MS);
  }

  draw() {
    const { chat, elements, current, shown } = this;
    const all = inOrder(chat.conversations.values());
    if (!shown && all.length) {
      current.show((chat.find(roomOf(location.hash) ?? "") ?? all[0]).key);
      return;
    }
    const items = all.map(({ key, room, nick, unread, mentioned }) => ({
      id: key,
      name: room ?? `@${nick}`,
      note: unread ? String(unread) : "",
      spoken: unread ? ` unread${mentioned ? `, ${mentioned} for you` : ""}` : "",
      classes: mentioned ? "has-unread for-you" : unread ? "has-unread" : "",
    }));
    this.fill(elements.rooms, items, current.key);
    if (this.listed !== current.key) this.rows.get(`rooms ${current.key}`)?.scrollIntoView({ block: "nearest" });
    this.listed = current.key;
    elements["room-name"].textContent = shown?.room ?? shown?.nick ?? "";
    elements.topic.textContent = elements.topic.title = shown?.room === null ? "Private messages" : (shown?.topic ?? "");
    elements["set-topic"].hidden = elements["people-section"].hidden = !shown?.room;
    elements["leave-room"].textContent = shown?.room ? `Leave ${shown.room}` : "Close these messages";
    elements["leave-room"].hidden = !shown || (shown.room && all.filter(({ room }) => room).length < 2);
    const elsewhere = all.reduce((sum, one) => sum + (one === shown ? 0 : one.unread), 0);
    elements["open-sidebar"].classList.toggle("news", elsewhere > 0);
    elements["open-sidebar"].ariaLabel = `Rooms and people${elsewhere ? `, ${elsewhere} unread` : ""}`;
    elements["own-nick"].textContent = chat.nick;
    elements["set-away"].textContent = chat.away === null ? "Away" : "Back";
  }

  drawPeople() {
    clearTimeout(this.peopleTimer);
    this.peopleTimer = 0;
    const { shown, elements, chat } = this;
    if (!shown?.room) return;
    const now = Date.now() / 1000;
    const members = [...shown.members.values()].sort((a, b) => compare(a.nick, b.nick)).slice(0, MOST_PEOPLE);
    const items = members.map((member) => ({
      id: member.session,
      name: member.nick,
      note: [member.session === chat.session ? "you" : "", stateOf(member, now)].filter(Boolean).join(", "),
      spoken: "",
      classes: member.away === null ? "" : "is-away",
    }));
    elements["people-count"].textContent = shown.count.toLocaleString("en");
    this.fill(elements.people, items, chat.session);
    elements["more-people"].textContent = shown.count > items.length ? `and ${shown.count - items.length} more` : "";
  }

  /**
   * Show items as a list of buttons. Only rows that differ are touched.
   * @param {?string} current The id of the marked one.
   */
  fill(list, items, current) {
    const rows = new Map();
    for (const item of items) {
      const key = `${list.id} ${item.id}`;
      const row = this.rows.get(key) ?? make("li", "", make("button", "", make("span", "label"), make("span", "state")));
      const signature = [item.name, item.note, item.spoken, item.classes, item.id === current].join("\n");
      rows.set(key, row);
      if (row.signature === signature) continue;
      const button = row.firstChild;
      const [label, state] = button.children;
      Object.assign(row, { signature, item });
      label.textContent = item.name;
      state.textContent = item.note;
      if (item.spoken) state.append(make("span", "hidden-text", item.spoken));
      button.className = item.classes;
      button.ariaCurrent = item.id === current ? "true" : null;
      if (!row.parentNode) button.tabIndex = -1;
    }
    for (const [key, row] of this.rows) {
      if (!key.startsWith(`${list.id} `) || rows.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    let next = list.firstChild;
    for (const [key, row] of rows) {
      this.rows.set(key, row);
      if (row === next) next = next.nextSibling;
      else list.insertBefore(row, next);
    }
    // The list is one stop of Tab. The arrow keys move in it.
    if (!list.querySelector('[tabindex="0"]') && list.firstChild) list.firstChild.firstChild.tabIndex = 0;
  }

  open(item) {
    if (!item || item.id === this.chat.session) return;
    this.current.show(this.chat.conversations.has(item.id) ? item.id : this.chat.openPrivate(item.name));
  }

  // Buttons

  async join() {
    const { chat, current, elements } = this;
    const list = make("ul", "open-rooms");
    const submit = async (name) => current.show((await chat.joinRoom(name)).key);
    const hint = make("p", "quiet", "A new name opens a new room.");
    ask(elements, { heading: "Join a room", label: "Room", yes: "Join", body: [hint, list], submit });
    list.addEventListener("click", ({ target }) => {
      const { room } = target.closest("button")?.dataset ?? {};
      if (!room) return;
      elements["confirm-body"].querySelector("input").value = room;
      elements["confirm-yes"].click();
    });
    const others = (await chat.roomList().catch(() => [])).filter(({ room }) => !chat.conversations.has(room));
    for (const { room, members, topic } of others.slice(0, MOST_ROOMS)) {
      const about = make("span", "quiet", ` ${members} here${topic ? `: ${topic}` : ""}`);
      const button = make("button", "", room, about);
      Object.assign(button, { type: "button" }).dataset.room = room;
      list.append(make("li", "", button));
    }
  }

  async leave() {
    const { key } = this.current;
    const question = { heading: `Leave ${key}?`, yes: "Leave", body: ["You can join it again."] };
    if (this.shown?.room === null || (await ask(this.elements, question))) this.chat.leaveRoom(key);
  }

  setTopic() {
    const { chat, shown } = this;
    const submit = (text) => chat.setTopic(shown.key, text);
    const heading = `Topic of ${shown.room}`;
    ask(this.elements, { heading, label: "Topic", value: shown.topic ?? "", yes: "Set", submit });
  }

  setNick() {
    const { chat } = this;
    const submit = (text) => chat.setNick(text);
    ask(this.elements, { heading: "Change your nickname", label: "Nickname", value: chat.nick, yes: "Change", submit });
  }

  setAway() {
    const { chat } = this;
    if (chat.away !== null) return chat.setAway(null);
    const submit = (text) => chat.setAway(text);
    return ask(this.elements, { heading: "You are away", label: "Reason (optional)", yes: "Away", submit });
  }

  async quit() {
    const question = { heading: "Quit the chat?", yes: "Quit", body: ["You leave all rooms."] };
    if (await ask(this.elements, question)) this.chat.quit();
  }
}

/** Move the focus in a list of buttons with the arrow keys, Home and End. */
function moveFocus(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const to = buttons[{ ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key] ?? -1];
  if (!to) return;
  event.preventDefault();
  for (const button of buttons) button.tabIndex = button === to ? 0 : -1;
  to.focus();
}
