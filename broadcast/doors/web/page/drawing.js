// Elements for the rows of a conversation. All text goes in as text, never as markup.

import { clockOf, colourOf, initialsOf, momentOf, sizeOf, splitLinks } from "./text.js";

const THUMBNAIL = { types: /^image\/(png|jpeg|gif|webp)$/, pixels: 25e6, bytes: 5 * 2 ** 20 };
const THUMBNAIL_WIDTH = 320;
const THUMBNAIL_HEIGHT = 240;

/**
 * Make an element.
 * @param {string} [classes]
 * @param {...(string|Node)} content Strings become text.
 * @returns {any}
 */
export function make(tag, classes = "", ...content) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  element.append(...content);
  return element;
}

/** Text that only assistive technology reads. */
const spoken = (text) => make("span", "hidden-text", text);

/** Change the text of an element, but only if it differs, because screen readers read out each change of a status. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Make a small button that does not send a form. */
export function button(label, onClick) {
  const element = make("button", "small", label);
  element.type = "button";
  element.addEventListener("click", onClick);
  return element;
}

/** Make a link that gives the other site neither this page nor its address. */
function link(href, ...content) {
  const element = make("a", "", ...content);
  element.href = href;
  element.target = "_blank";
  element.rel = "noopener noreferrer";
  return element;
}

/** Return a text as nodes, its links clickable. */
function linked(text) {
  return splitLinks(text).map((piece) =>
    piece.href ? link(piece.href, piece.text) : document.createTextNode(piece.text),
  );
}

function timeOf(line) {
  const element = make("time", "", line.at ? clockOf(line.at) : "");
  if (line.at) {
    element.dateTime = new Date(line.at * 1000).toISOString();
    element.title = momentOf(line.at);
  }
  return element;
}

/** Return whether a file is shown as a small picture. */
function isThumbnail({ type, width, height, size }) {
  const pixels = (width ?? 0) * (height ?? 0);
  return THUMBNAIL.types.test(type) && pixels > 0 && pixels <= THUMBNAIL.pixels && size <= THUMBNAIL.bytes;
}

/**
 * Make the card of a shared file. Its address is under this page, so that it works behind a proxy too. A file that has
 * been removed has no address.
 */
function card(file) {
  const { id, name, size } = file;
  const gone = () => make("span", "quiet", "This file is no longer there.");
  const about = make("span", "about", make("span", "file-name", name), make("span", "quiet", sizeOf(size)));
  const mark = make("span", "file-kind", /\.(\w{1,4})$/u.exec(name)?.[1] ?? "file");
  mark.ariaHidden = "true";
  if (file.url === null) {
    about.append(gone());
    return make("span", "card", mark, about);
  }
  const { href } = new URL(`files/${encodeURIComponent(id)}/${encodeURIComponent(name)}`, document.baseURI);
  const anchor = link(href, mark, about);
  anchor.className = "card";
  if (isThumbnail(file)) {
    const scale = Math.min(1, THUMBNAIL_WIDTH / file.width, THUMBNAIL_HEIGHT / file.height);
    const image = make("img", "thumbnail");
    image.width = Math.max(1, Math.round(file.width * scale));
    image.height = Math.max(1, Math.round(file.height * scale));
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = file.description ?? "";
    image.addEventListener("error", () => {
      image.replaceWith(mark);
      anchor.classList.remove("picture");
      about.append(gone());
    });
    image.src = href;
    mark.replaceWith(image);
    anchor.classList.add("picture");
  }
  return anchor;
}

function contentOf(line) {
  if (line.kind === "shared" && line.file) return [spoken("shared "), card(line.file)];
  const text = linked(line.text);
  if (line.kind !== "emoted") return text;
  return [make("span", `nick nick-${colourOf(line.nick)}`, line.nick), " ", ...text];
}

/** Draw a line that a person said, or a file that they shared. */
function drawSpoken(line, context) {
  const colour = `nick-${colourOf(line.nick)}`;
  const face = make("span", `face ${colour}`, initialsOf(line.nick));
  face.ariaHidden = "true";
  // The text of an emote begins with the name.
  const name = line.kind === "emoted" ? [] : [make("span", `nick ${colour}`, line.nick), " "];
  const who = make("div", "who", ...name, timeOf(line));
  const text = make("div", "text", ...contentOf(line));
  const row = make("div", `row spoken ${line.kind} ${line.status}`, face, who, text);
  if (line.mentions && line.kind !== "told") {
    row.classList.add("mention");
    text.append(spoken(" (mentions you)"));
  }
  if (line.status === "failed") {
    const retry = button("Retry", () => context.retry(line));
    const discard = button("Discard", () => context.discard(line));
    row.append(make("div", "sent", "Not sent: ", make("span", "quiet", line.reason), " ", retry, " ", discard));
  } else if (line.isOwn) {
    row.append(make("div", "sent", line.status === "sending" ? "Sending…" : "Stored"));
  }
  return row;
}

const NOTES = {
  renamed: (line) => `${line.text} is now ${line.nick}`,
  away: (line) => (line.text ? `${line.nick} is away: ${line.text}` : `${line.nick} is back`),
  topic: (line) => (line.text ? `${line.nick} set the topic: ${line.text}` : `${line.nick} removed the topic`),
};

function drawNote(line, text) {
  return make("div", "row note", make("span", "", ...linked(text)), " ", timeOf(line));
}

function drawGap(line, context) {
  const count = line.last - line.first + 1;
  const text = `${count === 1 ? "1 line is" : `${count} lines are`} missing here. `;
  const load = button("Load them", async () => {
    load.disabled = true;
    await context.fill(line);
    load.disabled = false;
  });
  return make("div", "row note", text, load);
}

/**
 * What the buttons in the rows do: `retry` sends a line again, `discard` removes it, `fill` loads the lines of a gap.
 * @typedef {{retry: (line: any) => void, discard: (line: any) => void, fill: (line: any) => Promise<any>}} Context
 */

/** Return a new element for a row. */
export function drawRow({ kind, line, text }, context) {
  switch (kind) {
    case "day":
      return make("h2", "row day", text);
    case "unread":
      return make("div", "row unread", make("span", "", "New lines"));
    case "fold":
      return drawNote(line, text);
    case "gap":
      return drawGap(line, context);
    case "answer":
      return make("pre", "row answer", ...linked(line.text));
    case "announced":
      return make("div", "row announced", make("strong", "", "Announcement: "), ...linked(line.text));
    case "renamed":
    case "away":
    case "topic":
      return drawNote(line, NOTES[kind](line));
    default:
      return drawSpoken(line, context);
  }
}
