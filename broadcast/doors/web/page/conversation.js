// @ts-check
// The lines of the conversation on the screen.

/** The log of the current conversation. */
export class ConversationView {
  /**
   * @param {import("./chat.js").Chat} chat
   * @param {Record<string, any>} elements
   * @param {import("./current.js").Current} current
   */
  constructor(chat, elements, current) {
    this.chat = chat;
    this.log = elements.conversation;
    this.current = current;
    current.addEventListener("show", () => this.show());
    chat.addEventListener("lines", () => this.show());
  }

  /** Show the lines of the current conversation. */
  show() {
    const conversation = this.chat.conversations.get(this.current.key);
    this.log.replaceChildren(
      ...(conversation?.lines ?? []).map((line) => {
        const row = document.createElement("div");
        row.textContent = `${line.nick ?? ""} ${line.text ?? line.kind}`;
        return row;
      }),
    );
  }
}
