// Sharing files: chosen with a button, dropped on the conversation, or pasted into the message.

import { ask } from "./dialog.js";
import { button, make } from "./drawing.js";
import { sizeOf } from "./text.js";

const MOST_AT_ONCE = 4; // the server's limit for one person
const ATTEMPTS = 5;
const WAIT = 2000; // ms until an interrupted upload goes on
const REDRAWN = /^image\/(jpeg|png|webp)$/;
const QUALITY = 0.92;

/** Return a picture without its metadata: only the pixels are drawn again. */
async function withoutMetadata(file) {
  const picture = await createImageBitmap(file);
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return new Promise((resolve, reject) => {
    const take = (blob) =>
      blob ? resolve(blob) : reject(new Error("This picture cannot be read. Share it as it is."));
    canvas.toBlob(take, file.type, QUALITY);
  });
}

/** Send one request, and return its answer. Status 0: the connection was lost. */
function send(method, url, token, { body = null, headers = {}, onProgress = (_) => {}, onStart = (_) => {} } = {}) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest(); // fetch does not report the progress of an upload
    request.open(method, url);
    request.setRequestHeader("Authorization", `Bearer ${token}`);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onloadend = () => resolve(request);
    onStart(request);
    request.send(body);
  });
}

/** Whether this program has given the answer, and not a proxy between whose server is gone. */
function isOwn(answer) {
  return answer.getResponseHeader("Content-Type")?.startsWith("text/plain") ?? false;
}

/** One upload: its row on the page, and its request. */
class Upload {
  isCancelled = false;
  /** @type {?XMLHttpRequest} */
  request = null;
  /** Gives the slot back, if there is one. */
  onCancel = () => {};

  constructor(name, content) {
    this.content = content;
    this.bar = make("progress");
    this.bar.max = content.size || 1;
    this.bar.ariaLabel = `Upload of ${name}`;
    this.words = make("span", "quiet", "Waiting…");
    this.button = button("Cancel", () => this.cancel());
    this.button.ariaLabel = `Cancel the upload of ${name}`;
    this.row = make("li", "", make("span", "file-name", name), this.bar, this.words, this.button);
  }

  cancel() {
    this.isCancelled = true;
    this.request?.abort();
    this.row.remove();
    this.onCancel();
  }

  progress(sent) {
    this.bar.value = sent;
    this.words.textContent = `${sizeOf(sent)} of ${sizeOf(this.content.size)}`;
  }

  /** Show why the file was not shared. The row stays until it is closed. */
  fail(reason) {
    this.bar.remove();
    this.row.classList.add("error");
    this.words.textContent = `Not shared: ${reason}`;
    this.button.textContent = "Close";
    this.button.ariaLabel = null;
  }

  /**
   * Send the content to the slot. A broken connection is taken up where it broke.
   * @returns {Promise<string>} Why it has failed; empty if it has not.
   */
  async run(url, token) {
    let offset = 0;
    for (let attempt = 1; ; attempt += 1) {
      const { size } = this.content;
      const headers = offset ? { "Content-Range": `bytes ${offset}-${size - 1}/${size}` } : {};
      const answer = await send("PUT", url, token, {
        body: this.content.slice(offset),
        headers,
        onStart: (request) => (this.request = request),
        onProgress: (sent) => this.progress(offset + sent),
      });
      if (this.isCancelled || (answer.status >= 200 && answer.status < 300)) return "";
      if (isOwn(answer)) return answer.responseText.trim();
      if (attempt === ATTEMPTS) {
        return answer.status ? `the server answered ${answer.status}.` : "the connection was lost. Try again.";
      }
      this.words.textContent = "The connection was lost. It goes on soon.";
      await new Promise((resolve) => setTimeout(resolve, WAIT * attempt));
      const state = await send("HEAD", url, token);
      if (isOwn(state)) return "the upload has expired. Try again.";
      offset = Number(state.getResponseHeader("Upload-Offset")) || 0;
      if (this.isCancelled) return "";
    }
  }
}

export class Sharing {
  constructor(chat, elements, current) {
    this.chat = chat;
    this.elements = elements;
    this.current = current;
    this.running = 0;
    /** @type {(() => void)[]} */
    this.waiting = [];
    this.list = elements.uploads;

    const { attach, files, message, room } = elements;
    attach.onclick = () => files.click();
    files.onchange = () => {
      this.offer([...files.files]);
      files.value = "";
    };
    message.addEventListener("paste", (event) => {
      const pasted = [...event.clipboardData.files];
      // A copied piece of a document is text and a picture of it. The text is meant.
      if (!pasted.length || event.clipboardData.types.includes("text/plain")) return;
      event.preventDefault();
      this.offer(pasted);
    });
    const hasFiles = (event) => this.canShare && event.dataTransfer?.types.includes("Files");
    room.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      room.classList.add("dropping");
    });
    room.addEventListener("dragleave", (event) => {
      if (!room.contains(event.relatedTarget)) room.classList.remove("dropping");
    });
    room.addEventListener("drop", (event) => {
      room.classList.remove("dropping");
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.offer([...event.dataTransfer.files]);
    });
    chat.addEventListener("state", () => this.showButton());
    current.addEventListener("show", () => this.showButton());
  }

  /** The room on the screen, or null in a private conversation. */
  get room() {
    return this.chat.conversations.get(this.current.key)?.room ?? null;
  }

  get canShare() {
    return this.room !== null && (this.chat.welcome?.features ?? []).includes("files");
  }

  showButton() {
    this.elements.attach.hidden = !this.canShare;
  }

  /** Ask about each file, and share those that the person confirms. */
  async offer(files) {
    const { room } = this;
    if (!this.canShare || room === null) return;
    const limit = this.chat.welcome.limits.file_bytes;
    for (const [index, file] of files.entries()) {
      if (file.size > limit) {
        const upload = new Upload(file.name, file);
        this.list.append(upload.row);
        upload.fail(`it has ${sizeOf(file.size)}, and a file here has at most ${sizeOf(limit)}.`);
        continue;
      }
      const clean = make("input");
      clean.type = "checkbox";
      clean.checked = file.type === "image/jpeg"; // photos; another PNG of the same pixels can be larger
      const caption = make("input");
      caption.autocomplete = "off";
      const body = [make("p", "quiet", sizeOf(file.size)), make("label", "field", "Text to go with it", caption)];
      if (REDRAWN.test(file.type)) {
        body.push(make("label", "check", clean, " Remove its metadata, such as place and camera"));
      }
      let content = file;
      let name = "";
      const isWanted = await ask(this.elements, {
        heading: `Share with ${room}?${files.length > 1 ? ` (${index + 1} of ${files.length})` : ""}`,
        yes: "Share",
        label: "Name",
        value: file.name,
        body,
        submit: async (typed) => {
          if (!typed) throw new Error("A file needs a name.");
          name = typed;
          if (REDRAWN.test(file.type) && clean.checked) content = await withoutMetadata(file);
        },
      });
      if (isWanted && content) this.share(room, name, file.type, content, caption.value.trim());
    }
  }

  /**
   * Share a file with a room.
   * @param {string} caption A line to say after it, if it is not empty.
   */
  async share(room, name, type, content, caption) {
    const upload = new Upload(name, content);
    this.list.append(upload.row);
    if (this.running === MOST_AT_ONCE) await new Promise((resolve) => this.waiting.push(() => resolve(null)));
    this.running += 1;
    try {
      if (upload.isCancelled) return;
      const uid = this.chat.env.randomId();
      const slot = await this.chat.request("upload", { room, name, size: content.size, type, uid });
      // The address is under this page, so that it works behind a proxy too. The slot has the name already.
      const url = new URL("files/upload", document.baseURI).href;
      upload.onCancel = () => send("DELETE", url, slot.token);
      if (upload.isCancelled) return upload.onCancel();
      const problem = await upload.run(url, slot.token);
      if (problem) upload.fail(problem);
      else upload.row.remove();
      if (!problem && !upload.isCancelled && caption) this.chat.say(room, caption);
    } catch (error) {
      upload.fail(error.message);
    } finally {
      this.running -= 1;
      this.waiting.shift()?.();
    }
  }
}
