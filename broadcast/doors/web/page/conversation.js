// @ts-check
// The lines of the conversation on the screen.

import { Announcer } from "./announcer.js";
import { drawRow, make } from "./drawing.js";
import { rowsOf } from "./rows.js";

/** So many lines are drawn while the newest one is in sight. */
const FOLLOW = 200;
/** At most so many lines are drawn. */
const MOST = 500;
/** So many lines are drawn or loaded at a time while the reader scrolls. */
const CHUNK = 100;
/** The newest line counts as in sight up to this distance in pixels, because zoom makes fractions. */
const NEAR_END = 3;

const COUNTED = new Set(["said", "emoted", "told", "shared", "announced"]);

/**
 * The log of the current conversation. It draws a part of the lines, the *window*, at most once a frame.
 *
 * While the reader is at the end, the window follows the newest lines. Otherwise it starts at `first`, and the row
 * that is at the top of the screen (the anchor) stays where it is, whatever is drawn above it.
 */
export class ConversationView {
  /**
   * @param {any} chat
   * @param {Record<string, any>} elements
   * @param {import("./current.js").Current} current
   */
  constructor(chat, elements, current) {
    this.chat = chat;
    this.current = current;
    this.log = elements.conversation;
    this.newer = elements.newer;
    this.announcer = new Announcer(elements.status);
    this.edge = make("p", "edge");
    this.log.append(this.edge);

    /** What is drawn, by the key of its row. @type {Map<any, {element: HTMLElement, signature: string}>} */
    this.drawn = new Map();
    /** The first line of the window, or null while the window follows the newest lines. @type {any} */
    this.first = null;
    /** The row at the top of the screen and its distance from there. @type {?{key: any, top: number}} */
    this.anchor = null;
    /** The number of the last line before the marker of unread lines. @type {?number} */
    this.unreadAfter = null;
    this.newCount = 0;
    this.isDue = false;
    this.isLoading = false;
    /** The indexes of the window in the lines. */
    this.start = 0;
    this.end = 0;

    current.addEventListener("show", (event) => this.show(event.detail));
    chat.addEventListener("lines", (event) => this.receive(event.detail));
    chat.addEventListener("conversation", () => this.schedule());
    this.log.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.log.addEventListener("wheel", (event) => this.wheeled(event), { passive: true });
    this.newer.addEventListener("click", () => this.toEnd());
    elements.composer.addEventListener("keydown", (event) => this.turnPage(event));
    document.addEventListener("visibilitychange", () => this.seen());
    new ResizeObserver(() => this.settle()).observe(this.log);
    this.context = {
      retry: (line) => this.chat.retry(line),
      fill: (gap) => this.load(gap.last + 1),
    };
  }

  /** The conversation on the screen. */
  get conversation() {
    return this.chat.conversations.get(this.current.key);
  }

  /** The lines of the conversation on the screen, oldest first. @returns {any[]} */
  get lines() {
    return this.conversation?.lines ?? [];
  }

  /** Draw before the next frame. */
  schedule() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw();
    });
  }

  /**
   * Show another conversation, or a place in this one.
   * @param {{before: ?string, seq: ?number}} place
   */
  show({ before, seq }) {
    if (before !== this.current.key) {
      this.clear();
      this.openUnread();
    }
    if (seq !== null) this.jump(seq);
  }

  /** Forget what is drawn. */
  clear() {
    for (const { element } of this.drawn.values()) element.remove();
    this.drawn.clear();
    this.first = this.anchor = this.unreadAfter = null;
    this.newCount = 0;
  }

  /** Draw the end of the conversation, or the first unread line if there is more than a screen of them. */
  openUnread() {
    const { conversation, lines } = this;
    if (conversation?.unread) this.unreadAfter ??= conversation.readUpTo;
    this.first = null;
    this.draw();
    const marker = this.drawn.get("unread")?.element;
    if (marker && marker.offsetTop < this.log.scrollTop) {
      this.first = lines[this.start];
      this.newCount = lines.filter((line) => line.seq > (this.unreadAfter ?? 0)).length;
      this.log.scrollTop = marker.offsetTop - 8;
      this.scrolled();
    }
    this.markRead();
  }

  /**
   * Take in that lines have been added or changed.
   * @param {{key: string, added?: any[], atStart?: boolean}} change
   */
  receive({ key, added = [], atStart = false }) {
    const isHere = key === this.current.key;
    if (!atStart) {
      for (const line of added) {
        const isOther = COUNTED.has(line.kind) && !line.isOwn;
        if (isOther && (isHere || line.mentions)) this.announcer.add(line);
        if (isOther && isHere && this.first) this.newCount += 1;
        if (isOther && isHere && document.hidden && line.seq) this.unreadAfter ??= line.seq - 1;
        if (isHere && line.status === "sending") this.toEnd();
      }
    }
    if (isHere) this.schedule();
  }

  /** Draw the window, and keep the end or the anchor in its place. */
  draw() {
    const { lines, log } = this;
    const first = this.first ? Math.max(0, lines.indexOf(this.first)) : Math.max(0, lines.length - FOLLOW);
    this.start = first;
    this.end = Math.min(lines.length, first + MOST);
    const rows = rowsOf(lines.slice(first, this.end), {
      now: Date.now() / 1000,
      unreadAfter: this.unreadAfter,
    });
    this.drawEdge();

    const wanted = new Map(rows.map((row) => [row.key, row]));
    for (const [key, { element, signature }] of this.drawn) {
      if (wanted.get(key)?.signature === signature) continue;
      if (element.contains(document.activeElement)) log.focus({ preventScroll: true });
      element.remove();
      this.drawn.delete(key);
    }
    let next = this.edge.nextSibling;
    for (const row of rows) {
      let drawn = this.drawn.get(row.key);
      if (!drawn) {
        drawn = { element: drawRow(row, this.context), signature: row.signature };
        this.drawn.set(row.key, drawn);
      }
      drawn.element.classList.toggle("first", row.isFirst);
      if (drawn.element === next) next = next.nextSibling;
      else log.insertBefore(drawn.element, next);
    }
    this.settle();
    this.drawButton();
    this.extend();
  }

  /** Say above the lines whether there are older ones. */
  drawEdge() {
    const { conversation } = this;
    const name = conversation?.room ?? conversation?.key;
    const text = !conversation || conversation.hasOlder ? "Loading older lines…" : `This is where ${name} begins.`;
    this.edge.classList.toggle("hidden-text", this.start > 0);
    if (this.edge.textContent !== text) this.edge.textContent = text;
  }

  /** Show the button that leads to the newest lines, with their number. */
  drawButton() {
    const isFar = this.first !== null;
    const { newCount } = this;
    const text =
      newCount === 0 ? "Newest lines ↓" : `${newCount} new ${newCount === 1 ? "line" : "lines"} ↓`;
    if (this.newer.textContent !== text) this.newer.textContent = text;
    if (!isFar && document.activeElement === this.newer) this.log.focus({ preventScroll: true });
    this.newer.hidden = !isFar;
    this.newer.classList.toggle("news", newCount > 0);
  }

  /** Scroll so that the end, or the anchor, is where it was. */
  settle() {
    const { log, anchor } = this;
    if (this.first === null) {
      log.scrollTop = log.scrollHeight;
      return;
    }
    const element = anchor && this.drawn.get(anchor.key)?.element;
    if (!element) return;
    const top = element.offsetTop - anchor.top;
    if (Math.abs(log.scrollTop - top) >= 1) log.scrollTop = top;
  }

  /** Remember the row at the top of the screen. Rows without a line of their own change too often for that. */
  dropAnchor() {
    const { log } = this;
    const rows = log.children;
    let [low, high] = [1, rows.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].offsetTop + rows[middle].offsetHeight < log.scrollTop) low = middle + 1;
      else high = middle;
    }
    while (low < rows.length - 1 && !rows[low].classList.contains("spoken")) low += 1;
    const element = rows[low];
    for (const [key, drawn] of this.drawn) {
      if (drawn.element === element) this.anchor = { key, top: element.offsetTop - log.scrollTop };
    }
  }

  /** Take in that the reader has scrolled. */
  scrolled() {
    const { log, lines } = this;
    const below = log.scrollHeight - log.scrollTop - log.clientHeight;
    const isAtEnd = below <= NEAR_END && this.end === lines.length;
    if (isAtEnd && this.first !== null) {
      this.first = this.anchor = null;
      this.newCount = 0;
      this.schedule();
      this.markRead();
    } else if (!isAtEnd && this.first === null && this.drawn.size > 0) {
      this.leaveEnd();
    }
    if (this.first !== null) this.dropAnchor();
    this.extend();
  }

  /** Stop following the newest lines. */
  leaveEnd() {
    this.first = this.lines[this.start] ?? null;
    this.drawButton();
  }

  /** Stop following as soon as the wheel turns up: the first steps of smooth scrolling are too small to notice. */
  wheeled(event) {
    const { log } = this;
    if (event.deltaY >= 0 || this.first !== null || log.scrollTop === 0) return;
    this.leaveEnd();
    this.dropAnchor();
  }

  /** Draw or load more lines when the reader comes near the start or the end of the window. */
  extend() {
    const { log, lines } = this;
    if (lines.length === 0) return;
    const below = log.scrollHeight - log.scrollTop - log.clientHeight;
    if (log.scrollTop < log.clientHeight) {
      if (this.start > 0 && this.first !== null) this.moveWindow(this.start - CHUNK);
      else if (this.start === 0) this.loadOlder();
    } else if (this.first !== null && this.end < lines.length && below < log.clientHeight) {
      this.moveWindow(Math.min(this.start + CHUNK, lines.length - MOST));
    }
  }

  /**
   * Let the window start at another line.
   * @param {number} start
   */
  moveWindow(start) {
    if (!this.anchor) this.dropAnchor();
    this.first = this.lines[Math.max(0, start)];
    this.schedule();
  }

  /** Load lines that are older than all that the page has. */
  async loadOlder() {
    const { conversation, lines } = this;
    const oldest = lines.find((line) => line.seq);
    if (this.isLoading || !conversation?.hasOlder || !conversation.room || !oldest) return;
    this.isLoading = true;
    await this.load(oldest.seq);
    this.isLoading = false;
  }

  /**
   * Load the lines before a number.
   * @param {number} seq
   */
  async load(seq) {
    try {
      await this.chat.olderThan(this.conversation.room, seq, CHUNK);
    } catch {
      // The chat reports the problem. The lines load again at the next scroll.
    }
  }

  /** Go to the newest lines. */
  toEnd() {
    this.first = this.anchor = null;
    this.newCount = 0;
    this.draw();
    this.markRead();
  }

  /**
   * Go to a line, and show which one it is.
   * @param {number} seq
   */
  async jump(seq) {
    const { conversation } = this;
    const find = () => this.lines.findIndex((line) => line.seq === seq);
    if (find() < 0) await this.chat.around(conversation.room, seq);
    const at = find();
    if (at < 0 || conversation !== this.conversation) return;
    this.first = this.lines[Math.max(0, at - CHUNK)];
    this.anchor = null;
    this.draw();
    const element = this.drawn.get(this.lines[at])?.element;
    if (!element) return;
    this.log.scrollTop = element.offsetTop - this.log.clientHeight / 3;
    this.log.querySelector(".target")?.classList.remove("target");
    element.classList.add("target");
    this.log.focus({ preventScroll: true });
    this.scrolled();
  }

  /** Scroll by a page while the reader is typing. */
  turnPage(event) {
    const direction = { PageUp: -1, PageDown: 1 }[event.key];
    if (!direction || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.log.scrollBy(0, direction * (this.log.clientHeight - 40));
  }

  /** Take in that the page has come into sight. */
  seen() {
    if (document.hidden) this.unreadAfter = null;
    else if (this.first === null && this.unreadAfter !== null) this.openUnread();
    else this.markRead();
  }

  /** Tell the chat that the newest line has been seen. */
  markRead() {
    if (!document.hidden && this.first === null && this.conversation) this.chat.markRead(this.current.key);
  }
}
