// @ts-check
// Notifications of the system, the unread count in the title and on the icon, and the sound.

import { make } from "./dialog.js";

const CHOICES = "broadcast.notify";
const LONGEST_TEXT = 200;

/** Return the title of the page. @param {number} unread @param {string} name @param {string} server */
export function titleOf(unread, name, server) {
  const title = [name, server].filter(Boolean).join(" – ");
  return unread ? `(${unread > 999 ? "999+" : unread}) ${title}` : title;
}

/**
 * Return why there can be no notifications, or an empty text.
 * @param {{isSecure: boolean, hasApi: boolean, permission: string}} browser
 */
export function reasonAgainst({ isSecure, hasApi, permission }) {
  if (!isSecure) return "Notifications need HTTPS. The title shows how many lines are unread.";
  if (!hasApi) return "This browser has no notifications. The title shows how many lines are unread.";
  if (permission === "denied") return "The browser's settings block notifications from this page.";
  return "";
}

export class Notifications {
  /**
   * @param {import("./chat.js").Chat} chat
   * @param {Record<string, any>} elements
   * @param {import("./current.js").Current} current
   */
  constructor(chat, elements, current) {
    this._chat = chat;
    this._elements = elements;
    this._current = current;
    this._choices = { notify: false, sound: false, ...JSON.parse(chat.env.local.getItem(CHOICES) ?? "{}") };
    this._drawn = -1; // the count on the icon
    this._audio = /** @type {?AudioContext} */ (null);
    elements.notify.addEventListener("click", () => this._toggleNotify());
    elements.sound.addEventListener("click", () => this._toggleSound());
    for (const name of ["unread", "conversation", "state"]) chat.addEventListener(name, () => this._count());
    current.addEventListener("show", () => this._count());
    chat.addEventListener("lines", (event) => this._take(event.detail));
    this._show();
    this._count();
  }

  get _reason() {
    const hasApi = "Notification" in window;
    return reasonAgainst({ isSecure: isSecureContext, hasApi, permission: hasApi ? Notification.permission : "" });
  }

  /** Show the state of the two buttons, and the reason why one is missing. */
  _show() {
    const { notify, sound } = this._elements;
    const reason = this._reason;
    notify.hidden = !!reason;
    this._elements["notify-reason"].textContent = reason;
    notify.setAttribute("aria-pressed", String(this._isOn));
    sound.setAttribute("aria-pressed", String(this._choices.sound));
  }

  get _isOn() {
    return this._choices.notify && !this._reason && Notification.permission === "granted";
  }

  async _toggleNotify() {
    const isOn = !this._isOn;
    if (isOn && Notification.permission !== "granted") await Notification.requestPermission();
    this._choose({ notify: isOn });
  }

  _toggleSound() {
    this._choose({ sound: !this._choices.sound });
    if (this._choices.sound) this._play();
  }

  /** @param {object} choice */
  _choose(choice) {
    Object.assign(this._choices, choice);
    this._chat.env.local.setItem(CHOICES, JSON.stringify(this._choices));
    this._show();
  }

  /** Notify of new lines for this person, unless they are on the screen. @param {{key: string, added: any[]}} change */
  _take({ key, added, atStart }) {
    const isSeen = document.hasFocus() && key === this._current.key;
    if (atStart || isSeen || !(this._isOn || this._choices.sound)) return;
    const isFor = (line) => !line.isOwn && line.status === "stored" && (line.mentions || line.kind === "told");
    const { readUpTo = 0 } = this._chat.conversations.get(key) ?? {};
    const line = added.findLast((one) => isFor(one) && (one.seq === null || one.seq > readUpTo));
    if (!line) return;
    if (this._choices.sound) this._play();
    if (this._isOn) this._notify(key, line);
  }

  /** @param {string} key @param {any} line */
  _notify(key, line) {
    const title = key.startsWith("@") ? line.nick : `${line.nick} in ${key}`;
    try {
      const notification = new Notification(title, { body: line.text.slice(0, LONGEST_TEXT), tag: key, icon: "icon.svg" });
      notification.onclick = () => {
        window.focus();
        this._current.show(key, line.seq);
        notification.close();
      };
    } catch {
      this._elements.notify.hidden = true; // some phones allow notifications of installed pages only
      this._elements["notify-reason"].textContent = "This browser has no notifications for a page that is not installed.";
    }
  }

  /** Play a short tone. */
  _play() {
    this._audio ??= new AudioContext();
    const { currentTime: now, destination } = this._audio;
    const tone = new OscillatorNode(this._audio, { frequency: 660 });
    const volume = new GainNode(this._audio, { gain: 0.08 });
    volume.gain.exponentialRampToValueAtTime(0.001, now + 0.25);
    tone.connect(volume).connect(destination);
    tone.start(now);
    tone.stop(now + 0.25);
  }

  // The unread count

  _count() {
    let unread = 0;
    for (const conversation of this._chat.conversations.values()) unread += conversation.unread;
    const key = this._current.key ?? "";
    document.title = titleOf(unread, key, this._elements["server-name"].textContent);
    if (unread === this._drawn) return;
    this._drawn = unread;
    if (unread) navigator.setAppBadge?.(unread).catch(() => {});
    else navigator.clearAppBadge?.().catch(() => {});
    this._drawIcon(unread);
  }

  /** Draw the count on the icon of the page. @param {number} unread */
  async _drawIcon(unread) {
    const { icon } = this._elements;
    this._plain ??= icon.getAttribute("href");
    if (icon.href.startsWith("blob:")) URL.revokeObjectURL(icon.href);
    icon.href = this._plain;
    if (!unread) return;
    const image = make("img", { src: this._plain });
    await image.decode();
    const canvas = make("canvas", { width: 64, height: 64 });
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, 64, 64);
    pen.fillStyle = "#b3261e";
    pen.beginPath();
    pen.arc(42, 42, 22, 0, 7);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.font = "bold 30px sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(unread > 9 ? "9+" : String(unread), 42, 44);
    canvas.toBlob((blob) => {
      if (blob && this._drawn === unread) icon.href = URL.createObjectURL(blob);
    });
  }
}
