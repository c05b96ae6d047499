// @ts-check
// The form with which a person joins, and the room in the page's address.

import { showError } from "./dialog.js";

/** Return the room in the fragment of an address, such as `#kitchen`, or null. @param {string} hash */
export function roomOf(hash) {
  let room = hash.replace(/^#/, "");
  try {
    room = decodeURIComponent(room);
  } catch {
    // The server refuses the name as it stands.
  }
  return room.trim().toLowerCase() || null;
}

export class JoinForm {
  /** @param {any} chat @param {any} elements @param {import("./current.js").Current} current */
  constructor(chat, elements, current) {
    this.chat = chat;
    this.elements = elements;
    this.current = current;
    this.isJoining = false;
    this.isFirst = true;
    /** The room of the address. */
    this.room = roomOf(location.hash);
    elements.nickname.value = chat.rememberedNick;
    elements.join.addEventListener("submit", (event) => {
      event.preventDefault();
      this.join();
    });
    elements.nickname.addEventListener("input", () => this.askPassword(false));
    elements["take-over"].addEventListener("click", () => chat.takeOver());
    addEventListener("hashchange", () => this.follow(roomOf(location.hash)));
    current.addEventListener("show", () => this.setAddress());
    chat.addEventListener("state", () => this.showState());
    chat.addEventListener("problem", ({ detail }) => chat.state === "start" && this.fail(detail));
    this.showState();
    elements.nickname.select();
  }

  showState() {
    const { chat, elements, room } = this;
    elements["join-room"].textContent = room ? `You enter the room ${room}.` : "";
    elements["take-over"].hidden = !chat.isDuplicate;
    if (chat.state === "ended") showError(elements["join-button"], elements["join-error"], chat.endReason);
    if (chat.state !== "open") return;
    this.show("join", "");
    // After a reload with another address, the session comes back without the room. Its rooms are known a little later.
    queueMicrotask(async () => {
      if (!this.isFirst) return;
      this.isFirst = false;
      await this.follow(room);
      this.setAddress();
    });
  }

  async join() {
    const { elements, chat } = this;
    const nick = elements.nickname.value.trim();
    const isAsked = !elements["password-field"].hidden;
    const password = isAsked ? elements.password.value : "";
    if (this.isJoining) return;
    for (const field of ["nick", "password", "join"]) this.show(field, "");
    if (!nick) this.show("nick", "Type a nickname.");
    else if (isAsked && !password) this.show("password", "Type the password, or take another nickname.");
    else {
      this.setJoining(true);
      try {
        const remember = elements.remember.checked;
        await chat.join({ nick, password, remember, room: this.room ?? "" });
        this.askPassword(false);
      } catch {
        // A `problem` has said why.
      }
      this.setJoining(false);
    }
  }

  /** Show a refusal beside its field. @param {{field: string, message: string}} problem */
  fail({ field, message }) {
    if (field === "password") this.askPassword(true);
    if (field === "room") this.room = null;
    this.show(field, field === "room" ? `${message} Press Join to enter the first room.` : message);
  }

  /** Show an error beside its field and move there, or remove it. @param {string} field @param {string} text */
  show(field, text) {
    const id = { nick: "nickname", password: "password" }[field] ?? "join";
    const input = this.elements[id === "join" ? "join-button" : id];
    showError(input, this.elements[`${id}-error`], text);
    if (!text) return;
    input.focus();
    input.select?.();
  }

  /** Show the field for the password, or empty and hide it. @param {boolean} isAsked */
  askPassword(isAsked) {
    const { elements } = this;
    elements["password-field"].hidden = !isAsked;
    if (isAsked) return;
    elements.password.value = "";
    this.show("password", "");
  }

  /** @param {boolean} isJoining */
  setJoining(isJoining) {
    this.isJoining = isJoining;
    this.elements["join-button"].textContent = isJoining ? "Joining…" : "Join";
  }

  // The address

  /** Go to the room of the address. @param {?string} room */
  async follow(room) {
    const { chat, current } = this;
    this.room = room;
    if (chat.state !== "open") this.showState();
    if (chat.state !== "open" || !room || room === current.key) return;
    try {
      current.show((chat.find(room) ?? (await chat.joinRoom(room))).key);
    } catch {
      this.setAddress(); // a `problem` has said why
    }
  }

  /** Let the address name the room on the screen, for a reload or a bookmark. */
  setAddress() {
    const { key } = this.current;
    if (this.isFirst) return; // the address says where to go
    this.room = key && !key.startsWith("@") ? key : null;
    history.replaceState(null, "", this.room ? `#${encodeURIComponent(this.room)}` : location.pathname);
  }
}
