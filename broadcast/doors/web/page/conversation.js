// The lines of the conversation on the screen.

import { Announcer } from "./announcer.js";
import { drawRow, make, setText } from "./drawing.js";
import { keyOf, rowsOf } from "./rows.js";
import { countOf } from "./text.js";

/** Minimum number of lines that are drawn while the newest one is in sight. The time of a drawing depends on it. */
const FOLLOWED_LINES = 80;
/** Number of those lines for each pixel of the screen's height. A line has about 24 pixels. */
const LINES_PER_PIXEL = 0.1;
/** Maximum number of lines that are drawn. */
const MAX_DRAWN_LINES = 500;
/** Number of lines that are drawn or loaded at a time while the reader scrolls. */
const CHUNK = 100;
/** The shortest time between two drawings. More of them take time from typing, and nobody reads so fast. */
const PAUSE_MS = 100;
/** The newest line counts as in sight up to this distance in pixels, because zoom makes fractions. */
const NEAR_END = 3;

const COUNTED = new Set(["said", "emoted", "told", "shared", "announced"]);

/**
 * The log of the current conversation. It draws a part of the lines, the *window*, at most once a frame.
 *
 * While the reader is at the end, the window follows the newest lines. Otherwise it starts at the line `first`, and the
 * row at the top of the screen (the anchor) stays where it is, whatever is drawn above it.
 */
export class ConversationView {
  constructor(chat, elements, current) {
    this.chat = chat;
    this.current = current;
    this.log = elements.conversation;
    this.newer = elements.newer;
    this.announcer = new Announcer(elements.status);
    chat.addEventListener("private", () => this.announcer.clear());
    this.edge = make("p", "edge");
    this.log.append(this.edge);

    /** What is drawn, by the key of its row. @type {Map<any, {element: HTMLElement, signature: string}>} */
    this.drawn = new Map();
    /** The key of the window's first line, or null while the window follows the newest lines. */
    this.first = null;
    /** The indexes of the window in the lines, and how many lines there were when it was drawn. */
    this.start = 0;
    this.end = 0;
    this.total = 0;
    /** The row at the top of the screen and its distance from there. @type {?{key: any, top: number}} */
    this.anchor = null;
    /** The height of the log when it was last settled, in pixels. */
    this.height = 0;
    /** Whether a line is behind the marker of unread lines. @type {?(line: any) => boolean} */
    this.isUnread = null;
    /** How many lines have come since the reader left the end. */
    this.newCount = 0;
    /** The own line whose state is shown. */
    this.ownNewest = null;
    this.isDue = false;
    this.drawnAt = 0;
    this.isLoading = false;

    current.addEventListener("show", (event) => this.show(event.detail));
    chat.addEventListener("lines", (event) => this.receive(event.detail));
    chat.addEventListener("state", () => this.extend()); // what a lost connection has not loaded
    this.log.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.log.addEventListener("wheel", (event) => this.wheeled(event), { passive: true });
    this.newer.addEventListener("click", () => this.toEnd());
    elements.composer.addEventListener("keydown", (event) => this.turnPage(event));
    document.addEventListener("visibilitychange", () => this.seen());
    new ResizeObserver(() => this.settle()).observe(this.log);
    this.context = {
      retry: (line) => chat.retry(line),
      discard: (line) => chat.discard(line),
      fill: (gap) => this.fill(gap),
    };
  }

  get key() {
    return this.current.key ?? "";
  }

  get conversation() {
    return this.chat.conversations.get(this.key);
  }

  get lines() {
    return this.conversation?.lines ?? [];
  }

  /** Draw before the next frame, or after the pause. */
  schedule() {
    if (this.isDue) return;
    this.isDue = true;
    const draw = () => {
      if (this.isDue) this.draw();
    };
    const wait = this.drawnAt + PAUSE_MS - performance.now();
    if (wait > 0) setTimeout(() => requestAnimationFrame(draw), wait);
    else requestAnimationFrame(draw);
  }

  /** Show another conversation, or a place in this one. */
  show({ before, seq }) {
    if (before !== this.key) {
      for (const { element } of this.drawn.values()) element.remove();
      this.drawn.clear();
      const { conversation } = this;
      this.isUnread = conversation?.unread
        ? unreadIn(conversation, conversation.unread, conversation.readUpTo)
        : null;
      this.open();
    }
    if (seq !== null) this.jump(seq).catch(() => {}); // the chat has reported the problem
  }

  /** Draw the end of the conversation, or the first unread line if there is more than a screen of them. */
  open() {
    this.follow();
    this.draw();
    const marker = this.drawn.get("unread")?.element;
    if (!marker || marker.offsetTop >= this.log.scrollTop) return;
    this.leaveEnd();
    this.newCount = this.lines.filter((line) => this.isUnread?.(line)).length;
    this.log.scrollTop = marker.offsetTop - 8;
    this.scrolled();
    this.drawButton();
  }

  /** Take in that lines have been added, changed or removed. */
  receive({ key, added, atStart }) {
    const isHere = key === this.key;
    for (const line of atStart ? [] : added) {
      if (isHere && (line.status === "sending" || line.kind === "answer")) this.answered();
      if (line.isOwn || !COUNTED.has(line.kind)) continue;
      if (isHere && this.first !== null) this.newCount += 1;
      if (isHere || line.mentions) this.announcer.add(line, isHere ? "" : key);
    }
    if (isHere) this.schedule();
  }

  /** Go to the end, and forget the marker: the person has answered. */
  answered() {
    this.isUnread = null;
    if (this.first !== null) this.follow();
  }

  // Drawing

  /** Draw the window, and keep the end or the anchor in its place. */
  draw() {
    const { lines, log, drawn } = this;
    this.isDue = false;
    this.drawnAt = performance.now();
    const followed = Math.max(FOLLOWED_LINES, Math.ceil(this.height * LINES_PER_PIXEL));
    const isFirst = (line) => keyOf(line) === this.first;
    const found = this.first === null ? lines.length - followed : lines.findIndex(isFirst);
    this.total = lines.length;
    this.start = Math.max(0, found);
    this.end = Math.min(lines.length, this.start + MAX_DRAWN_LINES);
    const rows = rowsOf(lines.slice(this.start, this.end), Date.now() / 1000, this.isUnread);
    this.drawEdge();

    const wanted = new Map(rows.map(({ key, signature }) => [key, signature]));
    for (const [key, { element, signature }] of drawn) {
      if (wanted.get(key) === signature) continue;
      if (element.contains(document.activeElement)) log.focus({ preventScroll: true });
      element.remove();
      drawn.delete(key);
    }
    let next = this.edge.nextSibling;
    let own = null;
    for (const row of rows) {
      const { element } = drawn.get(row.key) ?? { element: drawRow(row, this.context) };
      drawn.set(row.key, { element, signature: row.signature });
      element.classList.toggle("first", row.isFirst);
      if (element === next) next = next.nextSibling;
      else log.insertBefore(element, next);
      if (row.line.isOwn && row.line.status === "stored") own = element;
    }
    if (own !== this.ownNewest) {
      this.ownNewest?.classList.remove("newest");
      own?.classList.add("newest");
      this.ownNewest = own;
    }
    this.settle();
    this.drawButton();
    this.extend();
  }

  /** Say above the lines whether there are older ones. */
  drawEdge() {
    const { conversation } = this;
    const isAll = conversation && !conversation.hasOlder && this.start === 0;
    const text = isAll ? `This is where ${conversation.room ?? "your conversation"} begins.` : "Loading older lines…";
    setText(this.edge, text);
  }

  /** Show the button that leads to the newest lines, with their number. */
  drawButton() {
    const { newer, newCount } = this;
    setText(newer, newCount ? countOf(newCount, "new line") : "To the newest line");
    if (this.first === null && document.activeElement === newer) this.log.focus({ preventScroll: true });
    newer.hidden = this.first === null;
    newer.classList.toggle("news", newCount > 0);
  }

  // The place

  /** Scroll so that the end, or the anchor, is where it was. */
  settle() {
    const { log, anchor } = this;
    this.height = log.clientHeight;
    const element = anchor && this.drawn.get(anchor.key)?.element;
    if (this.first === null) log.scrollTop = log.scrollHeight;
    else if (element && Math.abs(element.offsetTop - anchor.top - log.scrollTop) >= 1) {
      log.scrollTop = element.offsetTop - anchor.top;
    }
  }

  /** Remember the row at the top of the screen. Only rows of spoken lines stay the same for long enough. */
  setAnchor() {
    const { log } = this;
    const rows = log.children;
    let [low, high] = [1, rows.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].offsetTop + rows[middle].offsetHeight < log.scrollTop) low = middle + 1;
      else high = middle;
    }
    while (low < rows.length - 1 && !rows[low].classList.contains("spoken")) low += 1;
    for (const [key, { element }] of this.drawn) {
      if (element === rows[low]) this.anchor = { key, top: element.offsetTop - log.scrollTop };
    }
  }

  /** Follow the newest lines. */
  follow() {
    this.first = this.anchor = null;
    this.newCount = 0;
    this.tell();
  }

  /** Stop following the newest lines. */
  leaveEnd() {
    if (this.lines.length === 0) return;
    this.first = keyOf(this.lines[this.start]);
    this.tell();
    this.drawButton();
  }

  /** Tell the chat what is on the screen: it marks lines as read, and holds older ones in memory. */
  tell() {
    this.chat.setView(this.current.key, this.first === null);
  }

  /** Mark the place when the page goes out of sight, and show what has come when it is back. */
  seen() {
    const { conversation } = this;
    if (!conversation || this.first !== null) return;
    if (document.hidden) this.isUnread = unreadIn(conversation, 0, conversation.newest);
    else this.open();
  }

  /** Take in that the reader has scrolled. */
  scrolled() {
    if (this.first === null && this.log.clientHeight !== this.height) return; // the end moves back when it is settled
    const isAtEnd = this.below <= NEAR_END && this.end === this.total;
    if (isAtEnd && this.first !== null) {
      this.follow();
      this.schedule();
    } else if (!isAtEnd && this.first === null) {
      this.leaveEnd();
    }
    if (this.first !== null) this.setAnchor();
    this.extend();
  }

  /** The distance to the end of what is drawn, in pixels. */
  get below() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight;
  }

  /** Stop following as soon as the wheel turns up: the first steps of smooth scrolling are too small to notice. */
  wheeled(event) {
    if (event.deltaY >= 0 || event.ctrlKey || this.first !== null || this.log.scrollTop === 0) return;
    this.leaveEnd();
    this.setAnchor();
  }

  turnPage(event) {
    const direction = { PageUp: -1, PageDown: 1 }[event.key];
    if (!direction || event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    event.preventDefault();
    this.log.scrollBy(0, direction * (this.log.clientHeight - 40));
  }

  toEnd() {
    this.follow();
    this.draw();
  }

  /** Go to a line, and show which one it is. */
  async jump(seq) {
    const { key } = this;
    const find = () => this.lines.findIndex((line) => line.seq === seq);
    if (find() < 0) await this.chat.around(key, seq, CHUNK);
    const at = find();
    if (key !== this.key || at < 0) return;
    this.first = keyOf(this.lines[Math.max(0, at - CHUNK)]);
    this.anchor = null;
    this.tell();
    this.draw();
    const element = this.drawn.get(seq)?.element;
    if (!element) return;
    this.log.scrollTop = element.offsetTop - this.log.clientHeight / 3;
    this.log.querySelector(".target")?.classList.remove("target");
    element.classList.add("target");
    this.log.focus({ preventScroll: true });
    this.scrolled();
  }

  // The window

  /** Draw or load more lines when the reader comes near the start or the end of the window, or near a gap. */
  extend() {
    const { log, lines } = this;
    if (lines.length === 0) return;
    if (log.scrollTop < log.clientHeight) {
      if (this.start === 0) this.load(() => this.loadOlder());
      else if (this.first !== null) this.moveWindow(this.start - CHUNK);
    }
    if (this.first === null) return;
    if (this.end < lines.length && this.below < log.clientHeight) {
      this.moveWindow(Math.min(this.start + CHUNK, lines.length - MAX_DRAWN_LINES));
    }
    for (const line of lines.slice(this.start, this.end)) {
      if (line.kind === "gap" && Math.abs(this.distance(line)) < log.clientHeight) this.fill(line);
    }
  }

  moveWindow(start) {
    this.first = keyOf(this.lines[Math.max(0, start)]);
    this.schedule();
  }

  /** Return how far a line is below the middle of the screen, in pixels. */
  distance(line) {
    const top = this.drawn.get(keyOf(line))?.element.offsetTop ?? Infinity;
    return top - this.log.scrollTop - this.log.clientHeight / 2;
  }

  /** Load something, but only one thing at a time. */
  async load(action) {
    if (this.isLoading) return;
    this.isLoading = true;
    try {
      await action();
    } catch {
      // The chat has reported the problem. The next scroll tries again.
    }
    this.isLoading = false;
  }

  async loadOlder() {
    const { key, conversation } = this;
    if (!conversation?.hasOlder || !conversation.room) return;
    const added = await this.chat.olderThan(key, conversation.oldest, CHUNK);
    if (key !== this.key || added.length === 0) return;
    if (this.first === null) this.tell(); // loading has lifted the limit on the lines in memory
    else this.moveWindow(0);
  }

  /** Load lines of a gap, beginning at the side where the reader is. */
  fill(gap) {
    return this.load(() =>
      this.distance(gap) > 0
        ? this.chat.around(this.key, gap.first + CHUNK / 2, CHUNK)
        : this.chat.olderThan(this.key, gap.last + 1, CHUNK),
    );
  }
}

/** Return a function that tells whether a line of a conversation is unread. Private lines have no numbers. */
function unreadIn({ room, lines }, unread, readUpTo) {
  if (room !== null) return (line) => line.seq > readUpTo && !line.isOwn;
  const told = lines.filter((line) => line.kind === "told" && !line.isOwn);
  const last = told.at(-unread - 1)?.id ?? 0;
  return (line) => line.id > last && line.kind === "told" && !line.isOwn;
}
