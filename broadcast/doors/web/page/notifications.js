// Notifications of the system, the unread count in the title and on the icon, and the sound.

import { make } from "./drawing.js";
import { load, store } from "./environment.js";

const CHOICES = "broadcast:notify";
const LONGEST_TEXT = 200;
const ICON = 64; // pixels

export function titleOf(unread, key, server) {
  return `${unread ? `(${unread}) ` : ""}${key ? `${key} - ` : ""}${server}`;
}

/** Return why there can be no notifications, or an empty text. */
export function reasonAgainst({ isSecure, hasApi, permission }) {
  if (!isSecure) return "Notifications need HTTPS. The page's title shows how many lines are unread.";
  if (!hasApi) return "This browser has no notifications. The page's title shows how many lines are unread.";
  return permission === "denied" ? "The browser blocks notifications of this page. Its settings can allow them." : "";
}

export class Notifications {
  constructor(chat, elements, current) {
    this.chat = chat;
    this.elements = elements;
    this.current = current;
    this.choices = { notify: false, sound: false, ...load(chat.env.local, CHOICES, {}) };
    this.iconCount = 0;
    /** The addresses of the icons, by their label. @type {?Map<string, string>} */
    this.icons = null;
    /** @type {?AudioContext} */
    this.audio = null;
    elements.notify.addEventListener("click", () => this.toggleNotify());
    elements.sound.addEventListener("click", () => this.choose({ sound: !this.choices.sound }) && this.play());
    for (const name of ["unread", "conversation", "state"]) chat.addEventListener(name, () => this.count());
    current.addEventListener("show", () => this.count());
    chat.addEventListener("lines", ({ detail }) => this.receive(detail));
    this.showChoices();
  }

  get isOn() {
    return this.choices.notify && isSecureContext && window.Notification?.permission === "granted";
  }

  /** Show the state of both buttons, or why there are no notifications. */
  showChoices(reason = "") {
    const { notify, sound } = this.elements;
    const hasApi = "Notification" in window;
    reason ||= reasonAgainst({ isSecure: isSecureContext, hasApi, permission: hasApi ? Notification.permission : "" });
    notify.hidden = !!reason;
    this.elements["notify-reason"].textContent = reason;
    notify.ariaPressed = String(this.isOn);
    sound.ariaPressed = String(this.choices.sound);
  }

  async toggleNotify() {
    const isWanted = !this.isOn;
    if (isWanted) await Notification.requestPermission();
    this.choose({ notify: isWanted });
  }

  choose(choice) {
    Object.assign(this.choices, choice);
    store(this.chat.env.local, CHOICES, this.choices);
    this.showChoices();
    return choice.sound;
  }

  /** Notify of the newest line for this person, unless it is on the screen. */
  receive({ key, added, atStart }) {
    const isSeen = document.hasFocus() && key === this.current.key;
    const { readUpTo = 0, isReading = false } = this.chat.conversations.get(key) ?? {};
    const isNew = (one) => isReading || one.seq === null || one.seq > readUpTo;
    const line = added.findLast((one) => one.mentions && isNew(one));
    if (!line || isSeen || atStart) return;
    if (this.choices.sound) this.play();
    if (this.isOn) this.notify(key, line);
  }

  notify(key, line) {
    const title = line.kind === "told" ? line.nick : `${line.nick} in ${key}`;
    try {
      const options = { body: line.text.slice(0, LONGEST_TEXT), tag: key, icon: "icon.svg" };
      const notification = new Notification(title, options);
      notification.onclick = () => {
        window.focus();
        notification.close();
        this.current.show(key, line.seq);
      };
    } catch {
      this.showChoices("This browser notifies for installed pages only.");
    }
  }

  play() {
    this.audio ??= new AudioContext();
    const { currentTime, destination } = this.audio;
    const tone = new OscillatorNode(this.audio, { frequency: 660 });
    const volume = new GainNode(this.audio, { gain: 0.08 });
    volume.gain.exponentialRampToValueAtTime(0.001, currentTime + 0.25);
    tone.connect(volume).connect(destination);
    tone.start();
    tone.stop(currentTime + 0.25);
  }

  // The unread count

  count() {
    const unread = [...this.chat.conversations.values()].reduce((sum, one) => sum + one.unread, 0);
    document.title = titleOf(unread, this.current.key, this.chat.welcome?.server ?? "Broadcast");
    if (unread === this.iconCount) return;
    this.iconCount = unread;
    this.drawIcon();
    navigator.setAppBadge?.(unread).catch(() => {}); // the system may have no badges
  }

  /** Show the count on the icon of the page. */
  async drawIcon() {
    const { icon } = this.elements;
    const unread = this.iconCount;
    const label = unread > 9 ? "9+" : String(unread);
    this.icons ??= new Map([["0", icon.href]]);
    if (!this.icons.has(label)) this.icons.set(label, await this.makeIcon(label));
    if (unread === this.iconCount) icon.href = this.icons.get(label);
  }

  async makeIcon(label) {
    const image = make("img");
    image.src = "icon.svg";
    await image.decode();
    const canvas = make("canvas");
    canvas.width = canvas.height = ICON;
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, ICON, ICON);
    pen.fillStyle = "#b3261e";
    pen.arc(42, 42, 22, 0, 7);
    pen.fill();
    pen.fillStyle = "#ffffff";
    pen.font = "bold 30px sans-serif";
    pen.textAlign = "center";
    pen.fillText(label, 42, 53);
    return new Promise((resolve) => canvas.toBlob((blob) => resolve(URL.createObjectURL(blob))));
  }
}
