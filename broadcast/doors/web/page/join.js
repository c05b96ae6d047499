// @ts-check
// The form with which a person joins, and the room in the page's address.

import { showError } from "./dialog.js";

const NICKNAME = "broadcast.nickname";

/** Return the room in the fragment of an address, such as `#kitchen`, or null. @param {string} hash */
export function roomOf(hash) {
  const text = hash.replace(/^#/, "");
  try {
    return decodeURIComponent(text).trim().toLowerCase() || null;
  } catch {
    return text.toLowerCase();
  }
}

/**
 * Return where an error of `join` stands, and its text.
 * @param {{code?: number, reason?: string, message: string, data?: any}} error
 * @returns {{field: "nickname" | "password" | "join", text: string}}
 */
export function explain({ code, message, data }) {
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
      return { field: "password", text: `The server is busy with other passwords.${retry}` };
    case 1004:
      return { field: "join", text: `${message} Join again to enter the first room.` };
    default:
      return { field: "join", text: message };
  }
}

export class JoinForm {
  /**
   * @param {import("./chat.js").Chat} chat
   * @param {Record<string, any>} elements
   * @param {import("./current.js").Current} current
   */
  constructor(chat, elements, current) {
    this._chat = chat;
    this._elements = elements;
    this._current = current;
    this._isJoining = false;
    this._room = roomOf(location.hash);
    elements.nickname.value = chat.env.local.getItem(NICKNAME) ?? "";
    elements.join.addEventListener("submit", (event) => {
      event.preventDefault();
      this.join();
    });
    elements.nickname.addEventListener("input", () => this._askPassword(false));
    addEventListener("hashchange", () => this._follow());
    current.addEventListener("show", () => this._setAddress());
    chat.addEventListener("state", () => {
      if (chat.state === "start") this._begin();
    });
    this._begin();
  }

  _begin() {
    const { _elements: elements } = this;
    elements["join-room"].textContent = this._room ? `You enter the room ${this._room}.` : "";
    if (this._chat.state === "start") elements.nickname.select();
  }

  async join() {
    const { _elements: elements, _chat: chat } = this;
    if (this._isJoining) return;
    const nick = elements.nickname.value.trim();
    for (const field of ["nickname", "password", "join"]) this._show(field, "");
    if (!nick) {
      this._show("nickname", "Type a nickname.");
      return;
    }
    const isAsked = !elements["password-field"].hidden;
    if (isAsked && !elements.password.value) {
      this._show("password", "Type the password, or take another nickname.");
      return;
    }
    this._setJoining(true);
    try {
      await chat.join({ nick, password: isAsked ? elements.password.value : undefined, room: this._room ?? undefined });
      elements.password.value = "";
      this._askPassword(false);
      chat.env.local.setItem(NICKNAME, chat.nick);
    } catch (error) {
      this._fail(error);
    } finally {
      this._setJoining(false);
    }
  }

  /** @param {any} error */
  _fail(error) {
    const { field, text } = explain(error);
    if (field === "password") this._askPassword(true);
    if (error.code === 1004) this._room = null;
    this._show(field, text);
  }

  /** Show an error beside its field, or remove it. @param {string} field @param {string} text */
  _show(field, text) {
    const input = this._elements[field === "join" ? "join-button" : field];
    showError(input, this._elements[`${field}-error`], text);
    if (!text) return;
    input.focus();
    input.select?.();
  }

  /** @param {boolean} isAsked */
  _askPassword(isAsked) {
    const { _elements: elements } = this;
    elements["password-field"].hidden = !isAsked;
    elements.password.required = isAsked;
    if (isAsked) return;
    elements.password.value = "";
    showError(elements.password, elements["password-error"], "");
  }

  /** @param {boolean} isJoining */
  _setJoining(isJoining) {
    this._isJoining = isJoining;
    this._elements["join-button"].textContent = isJoining ? "Joining…" : "Join";
    this._elements["join-button"].setAttribute("aria-disabled", String(isJoining));
  }

  // The address

  /** Go to the room of the address, after a person has changed it. */
  async _follow() {
    const room = roomOf(location.hash);
    if (room === this._room) return;
    this._room = room;
    this._begin();
    if (room === null || this._chat.state === "start") return;
    try {
      if (!this._chat.conversations.has(room)) await this._chat.joinRoom(room);
      this._current.show(room);
    } catch {
      this._setAddress(); // the chat has reported the problem
    }
  }

  /** Let the address name the current room, for a reload or a bookmark. */
  _setAddress() {
    const key = this._current.key ?? "";
    this._room = key.startsWith("@") || !key ? null : key;
    history.replaceState(null, "", this._room ? `#${encodeURIComponent(this._room)}` : location.pathname);
  }
}
