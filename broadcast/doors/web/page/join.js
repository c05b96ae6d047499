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

/**
 * Return where an error of `join` stands, and its text.
 * @param {any} error @returns {{field: "nickname" | "password" | "join", text: string}}
 */
export function explain({ code, reason, message, data }) {
  const retry = data?.retry ? ` Try again in ${data.retry} s.` : "";
  switch (code) {
    case 1003:
      return { field: "nickname", text: message };
    case 1020:
      return { field: "password", text: "This nickname is registered. Type its password, or take another nickname." };
    case 1021:
      return { field: "password", text: "The password is wrong. Type it again, or take another nickname." };
    case 1022:
      return { field: "password", text: `There were too many wrong passwords.${retry}` };
    case 1028:
      return { field: "password", text: `The server checks too many passwords.${retry}` };
    case 1004:
      return { field: "join", text: `${message} Press Join to enter the first room.` };
    default:
      return { field: "join", text: message };
  }
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
    chat.addEventListener("problem", ({ detail }) => {
      // Without `join`, the server has refused a session that comes back, or another tab has it.
      if (!this.isJoining && chat.state === "start") this.fail(detail);
    });
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
    for (const field of ["nickname", "password", "join"]) this.show(field, "");
    if (!nick) this.show("nickname", "Type a nickname.");
    else if (isAsked && !password) this.show("password", "Type the password, or take another nickname.");
    else {
      this.setJoining(true);
      try {
        await chat.join({ nick, password, room: this.room ?? "" });
        this.askPassword(false);
      } catch (error) {
        this.fail(error);
      } finally {
        this.setJoining(false);
      }
    }
  }

  /** @param {any} error */
  fail(error) {
    const { field, text } = explain(error);
    if (field === "password") this.askPassword(true);
    if (error.code === 1004) this.room = null;
    this.show(field, text);
  }

  /** Show an error beside its field and move there, or remove it. @param {string} field @param {string} text */
  show(field, text) {
    const input = this.elements[field === "join" ? "join-button" : field];
    showError(input, this.elements[`${field}-error`], text);
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
