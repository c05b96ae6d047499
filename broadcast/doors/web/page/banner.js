// The state of the connection above the conversation.

import { setText } from "./drawing.js";

const GOOD_MS = 3000;

export class Banner {
  constructor(chat, elements) {
    this.chat = chat;
    this.elements = elements;
    this.wasLost = false;
    this.timer = 0;
    chat.addEventListener("state", () => this.show());
    elements.reconnect.addEventListener("click", () => chat.reconnect());
  }

  /** Show the state. The seconds are apart from the status, so that a screen reader does not count them. */
  show() {
    const { chat, elements } = this;
    clearTimeout(this.timer);
    const isLost = chat.state === "lost" || (chat.state === "connecting" && this.wasLost);
    if (isLost) {
      this.say("The connection is lost. Your lines are sent when it is back.");
      this.count();
    } else if (chat.state === "open" && this.wasLost) {
      this.say("Connected again.");
      this.timer = setTimeout(() => (elements.connection.hidden = true), GOOD_MS);
    } else {
      elements.connection.hidden = true;
    }
    elements["connection-wait"].hidden = elements.reconnect.hidden = !isLost;
    this.wasLost = isLost;
  }

  say(text) {
    this.elements.connection.hidden = false;
    setText(this.elements["connection-text"], text);
  }

  count() {
    const { chat, elements } = this;
    const seconds = Math.ceil(((chat.retryAt ?? 0) - Date.now()) / 1000);
    const waits = chat.state === "lost" && seconds > 0;
    elements["connection-wait"].textContent = waits ? `Trying again in ${seconds} s.` : "Trying again…";
    elements.reconnect.disabled = !waits;
    this.timer = setTimeout(() => this.count(), 500);
  }
}
