// Which conversation the page shows.

/** The conversation on the screen. Dispatches `show` when another one, or a place in it, is asked for. */
export class Current extends EventTarget {
  /** The key of the conversation in `chat.conversations`, or null before the first. */
  key = null;

  /**
   * Show a conversation.
   * @param {?number} seq The line to scroll to. Without it, the conversation opens where it was left.
   */
  show(key, seq = null) {
    const before = this.key;
    this.key = key;
    this.dispatchEvent(new CustomEvent("show", { detail: { key, before, seq } }));
  }
}
