// The own lines that the server has not confirmed yet. Each is sent until it is answered, with the
// same uid.

const MAX_UNANSWERED = 64;

/**
 * @typedef {import("./connection.js").ChatError} ChatError
 * @typedef {{uid: string, method: string, params: any, wasSent: boolean, isWaiting: boolean}} Item
 */

export class Outbox {
  /** @param {(item: Item, error: ChatError | null, result: any) => void} onEnd called once an item has an answer */
  constructor(send, onEnd) {
    this._send = send;
    this._onEnd = onEnd;
    this._isOpen = false;
    this.maxUnanswered = MAX_UNANSWERED;
    /** The items without an answer, in the order in which they were typed. @type {Item[]} */
    this.items = [];
  }

  add(uid, method, params, wasSent = false) {
    this.items.push({ uid, method, params: { ...params, uid }, wasSent, isWaiting: false });
    this._work();
  }

  /**
   * Send all items again that have no answer. A session that was not resumed has forgotten the uids of private
   * messages. `lost` gets those that may have been delivered, and they are not sent.
   */
  open({ resumed, linesPerSecond, lost }) {
    // With a rate limit, more lines would wait in front of the connection's own checks.
    this.maxUnanswered = Math.max(1, Math.min(MAX_UNANSWERED, Math.floor(linesPerSecond ?? MAX_UNANSWERED)));
    const isUncertain = (item) => item.method === "tell" && item.wasSent && !resumed;
    const uncertain = this.items.filter(isUncertain);
    this.items = this.items.filter((item) => !isUncertain(item));
    uncertain.forEach(lost);
    this._isOpen = true;
    this._work();
  }

  close() {
    this._isOpen = false;
    for (const item of this.items) item.isWaiting = false;
  }

  /** Remove an item: the room's stream has shown that its line is stored. Return whether it was here. */
  confirm(uid) {
    const index = this.items.findIndex((item) => item.uid === uid);
    if (index < 0) return false;
    this.items.splice(index, 1);
    this._work();
    return true;
  }

  _work() {
    if (!this._isOpen) return;
    let unanswered = this.items.filter((item) => item.isWaiting).length;
    for (const item of [...this.items]) {
      if (unanswered >= this.maxUnanswered || !this._isOpen) return;
      if (item.isWaiting) continue;
      item.isWaiting = item.wasSent = true;
      unanswered += 1;
      this._send(item.method, item.params, (error, result) => this._answered(item, error, result));
    }
  }

  _answered(item, error, result) {
    if (error !== null && error.reason === "lost") return; // `open` sends it again
    const index = this.items.indexOf(item);
    if (index < 0) return; // confirmed
    this.items.splice(index, 1);
    // Another nickname or another form of the text: the line itself is stored.
    if (error !== null && error.reason === "uid-reused" && error.data.seq) {
      this._onEnd(item, null, { seq: error.data.seq });
    } else {
      this._onEnd(item, error, result);
    }
    this._work();
  }
}
