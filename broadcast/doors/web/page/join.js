// The form with which a person joins, and the room in the page's address.

import { ask, showError } from "./dialog.js";
import { button, make } from "./drawing.js";
import { comeBack, leave } from "./login.js";
import { endLogin, loggedIn } from "./logins.js";

const SETTLED = ["open", "start", "ended"];
const FORGOTTEN = "This browser has forgotten the login, but it did not reach the server, which accepts it for 30 days.";

/** Return the room in the fragment of an address, such as `#kitchen`, or null. */
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
  constructor(chat, elements, current) {
    this.chat = chat;
    this.elements = elements;
    this.current = current;
    this.isJoining = false;
    this.isFirst = true;
    comeBack(chat.env).then((result) => result && this.goOn(result)); // first, because it restores the address
    /** The room of the address. */
    this.room = roomOf(location.hash);
    elements.nickname.value = chat.rememberedNick;
    elements.join.addEventListener("submit", (event) => {
      event.preventDefault();
      this.join();
    });
    elements.nickname.addEventListener("input", () => this.askPassword(false));
    elements["take-over"].addEventListener("click", () => chat.takeOver());
    elements.oidc.addEventListener("click", () => leave(chat.env, elements.remember.checked));
    addEventListener("hashchange", () => this.follow(roomOf(location.hash)));
    current.addEventListener("show", () => this.setAddress());
    chat.addEventListener("state", () => this.showState());
    chat.addEventListener("problem", ({ detail }) => chat.state === "start" && this.fail(detail));
    this.askPassword(false);
    this.showState();
    elements.nickname.select();
  }

  showState() {
    const { chat, elements, room } = this;
    elements["join-room"].textContent = room ? `You enter the room ${room}.` : "";
    elements["take-over"].hidden = !chat.isDuplicate;
    this.showLogins();
    if (chat.state === "ended") showError(elements["join-button"], elements["join-error"], chat.endReason);
    elements["join-error"].classList.toggle("error", chat.state !== "ended" || !chat.hasQuit);
    if (chat.state !== "open") return;
    chat.hasQuit = false;
    this.show("join", "");
    // After a reload with another address, the session comes back without the room. Its rooms are known a little later.
    queueMicrotask(async () => {
      if (!this.isFirst) return;
      this.isFirst = false;
      await this.follow(room);
      this.setAddress();
    });
  }

  /** Show as whom this browser is logged in. */
  showLogins() {
    const { chat, elements } = this;
    const rows = loggedIn(chat.env).map((nick) => {
      const logOut = button("Log out", async () => {
        const ending = endLogin(chat.env, nick);
        this.showLogins();
        elements.nickname.focus();
        if (!(await ending)) this.show("join", `${FORGOTTEN} Log in as ${nick} and change the password to end it.`);
      });
      logOut.ariaLabel = `Log out of ${nick}`;
      return make("li", "", make("span", "", `This browser is logged in as ${nick}.`), logOut);
    });
    elements.logins.replaceChildren(...rows);
    elements.logins.hidden = !rows.length;
  }

  /** Go on after a login with the provider. */
  async goOn({ login = "", error = "", remember = false }) {
    const { chat, elements, room } = this;
    while (!SETTLED.includes(chat.state)) await new Promise((resolve) => chat.addEventListener("state", resolve, { once: true }));
    try {
      if (error) throw new Error(error);
      if (chat.state === "open") {
        await chat.request("login", { login, remember }, (result) => chat.takeAccount(result));
        chat.notice(chat.rooms()[0], { kind: "answer", text: `You are logged in as ${chat.account}.` });
      } else {
        await chat.join({ nick: "", login, remember, room: room ?? "" });
      }
    } catch ({ message }) {
      if (chat.state === "open") ask(elements, { heading: "You are not logged in", yes: "OK", body: [message] });
      else if (error) this.show("join", error); // otherwise, a `problem` has said it
    }
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

  /** Show a refusal beside its field. */
  fail({ field, message }) {
    if (field === "password") this.askPassword(true);
    if (field === "room") this.room = null;
    this.show(field, field === "room" ? `${message} Press Join to enter the first room.` : message);
  }

  /** Show an error beside its field and move there, or remove it. */
  show(field, text) {
    const id = { nick: "nickname", password: "password" }[field] ?? "join";
    const input = this.elements[id === "join" ? "join-button" : id];
    showError(input, this.elements[`${id}-error`], text);
    if (!text) return;
    input.focus();
    input.select?.();
  }

  /** Show the field for the password, or empty and hide it. */
  askPassword(isAsked) {
    const { elements } = this;
    elements["password-field"].hidden = !isAsked;
    elements["remember-field"].hidden = !isAsked && elements.oidc.hidden;
    elements[isAsked ? "join-button" : "join-error"].before(elements["remember-field"]);
    if (isAsked) return;
    elements.password.value = "";
    this.show("password", "");
  }

  setJoining(isJoining) {
    this.isJoining = isJoining;
    this.elements["join-button"].textContent = isJoining ? "Joining…" : "Join";
  }

  // The address

  /** Go to the room of the address. */
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
