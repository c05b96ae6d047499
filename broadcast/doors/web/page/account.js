// The forms for the account in the chat: log in, register, change the password, log out.

import { ask, showError } from "./dialog.js";
import { make } from "./drawing.js";
import { leave } from "./login.js";
import { setLogin } from "./logins.js";

const NOT_ENCRYPTED = "The connection is not encrypted: others on its way can read the password.";
const TLS_ONLY = "This server takes passwords only over an encrypted connection. Open the page with https.";

/** @typedef {{label: string, autocomplete: string, value?: string, readOnly?: boolean}} Field */

const nickname = (value, readOnly) => ({ label: "Nickname", autocomplete: "username", value, readOnly });
const current = (label) => ({ label, autocomplete: "current-password" });
const fresh = (label) => ({ label, autocomplete: "new-password" });

export class Account {
  constructor(chat, elements) {
    this.chat = chat;
    this.elements = elements;
    for (const name of ["state", "account"]) chat.addEventListener(name, () => this.draw());
    chat.addEventListener("form", ({ detail }) => this[detail.name]());
    elements["log-in"].addEventListener("click", () => (chat.account ? this.logOut() : this.login()));
    elements.register.addEventListener("click", () => (chat.account ? this.passwd() : this.register()));
  }

  draw() {
    const { chat, elements } = this;
    elements["log-in"].textContent = chat.account ? "Log out" : "Log in";
    elements.register.textContent = chat.account ? "Change password" : "Register";
  }

  login() {
    const { chat, elements } = this;
    const box = make("input");
    box.type = "checkbox";
    const more = [make("label", "check", box, " Stay logged in on this device")];
    if (!elements.oidc.hidden) {
      const link = elements.oidc.cloneNode(true);
      link.id = "";
      link.addEventListener("click", () => leave(chat.env, box.checked));
      more.push(link);
    }
    const fields = [nickname(chat.nick), current("Password")];
    this.ask("Log in", fields, more, async ([nick, password]) => {
      await this.request("login", { nick, password, remember: box.checked });
    });
  }

  register() {
    const { chat } = this;
    const fields = [nickname(chat.nick, true), fresh("Password"), fresh("Once more")];
    const more = [make("p", "quiet", "Only you can use the nickname then, with this password.")];
    this.ask("Register", fields, more, ([, password]) => this.request("register", { password }));
  }

  passwd() {
    const { chat } = this;
    if (!chat.account) return this.login();
    const fields = [nickname(chat.account, true), current("Old password"), fresh("New password"), fresh("Once more")];
    const more = [make("p", "quiet", "Your other connections and devices are logged out.")];
    return this.ask("Change password", fields, more, async ([, old, password]) => {
      await chat.request("set_password", { old, new: password });
      chat.password = password;
      setLogin(chat.env, chat.account, "");
    });
  }

  /** Log in with the provider, or join the account to the person there. */
  oidc() {
    const { chat, elements } = this;
    if (elements.oidc.hidden) ask(elements, { heading: "Log in", yes: "OK", body: ["This server knows no provider."] });
    else elements.oidc.click();
  }

  logOut() {
    const { chat, elements } = this;
    const body = ["You get another nickname. Your private conversations disappear from this page."];
    const heading = `Log out of ${chat.account}?`;
    ask(elements, { heading, yes: "Log out", body, submit: () => chat.logOut() });
  }

  /** Log in or register. */
  request(method, params) {
    return this.chat.request(method, params, (result) => this.chat.takeAccount(result, params.password ?? ""));
  }

  /** Ask for passwords. An error stands beside its field. */
  async ask(heading, fields, more, send) {
    const { elements, chat } = this;
    const { passwords } = chat.welcome;
    if (passwords === "refused") {
      const link = more.filter((element) => element.nodeName === "A");
      ask(elements, { heading, yes: "OK", body: [TLS_ONLY, ...link] });
      return;
    }
    const rows = fields.map(({ label, autocomplete, value = "", readOnly = false }, index) => {
      const type = autocomplete === "username" ? "text" : "password";
      const input = Object.assign(make("input"), { autocomplete, value, readOnly, type, spellcheck: false });
      const note = Object.assign(make("p", "error"), { id: `account-error-${index}`, hidden: true });
      input.setAttribute("aria-describedby", note.id);
      return { input, note, row: make("div", "field", make("label", "", label, input), note) };
    });
    const submit = async () => {
      for (const { input, note } of rows) showError(input, note, "");
      const values = rows.map(({ input }) => input.value);
      const button = elements["confirm-yes"];
      const setWaiting = (isWaiting) =>
        Object.assign(button, { disabled: isWaiting, textContent: isWaiting ? "Please wait…" : heading });
      try {
        const last = values.length - 1;
        check(values, fields[last].label === "Once more" ? last : -1);
        setWaiting(true); // the server may take a while for a password
        await send(values);
      } catch (error) {
        const { input, note } = rows[fieldOf(error, fields)];
        showError(input, note, error.message);
        input.focus();
        input.select();
        throw new Error("");
      } finally {
        if (rows[0].input.isConnected) setWaiting(false); // otherwise, the button belongs to another question
      }
    };
    const warning = passwords === "readable" ? [make("p", "error", NOT_ENCRYPTED)] : [];
    const done = ask(elements, { heading, yes: heading, body: [...warning, ...rows.map(({ row }) => row), ...more], submit });
    const first = rows.find(({ input }) => !input.readOnly).input;
    first.focus();
    first.select();
    await done;
    elements["confirm-yes"].disabled = false;
    elements["confirm-body"].replaceChildren(); // with the passwords
  }
}

/** Fail, with the index of its field, if a value is missing or was typed differently. */
function check(values, again) {
  const empty = values.findIndex((value) => !value);
  if (empty >= 0) throw Object.assign(new Error("Fill in this field."), { index: empty });
  const differs = again >= 0 && values[again] !== values[again - 1];
  if (differs) throw Object.assign(new Error("The two passwords differ."), { index: again });
}

/** Return the index of the field that an error is about. */
function fieldOf({ index, code, reason }, fields) {
  if (index !== undefined || reason === "nick-refused") return index ?? 0;
  const isNew = code === -32602; // the new password breaks the rule
  const at = fields.findIndex(({ autocomplete }) => autocomplete === (isNew ? "new-password" : "current-password"));
  return at < 0 ? 1 : at;
}
