// The start of the page: makes the chat and its views, and shows the join form or the chat.

import { Account } from "./account.js";
import { Banner } from "./banner.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { ConversationView } from "./conversation.js";
import { Current } from "./current.js";
import { JoinForm } from "./join.js";
import { Notifications } from "./notifications.js";
import { Search } from "./search.js";
import { Sharing } from "./sharing.js";
import { Sidebar } from "./sidebar.js";

/** All elements of the page that have an id, by their id. @type {Record<string, any>} */
const elements = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);
const chat = new Chat();
const current = new Current();
for (const View of [ConversationView, Sidebar, Composer, JoinForm, Search, Notifications, Banner, Sharing, Account]) {
  new View(chat, elements, current);
}

let isReady = false;
let isIn = false;

/** Show the join form before a session and after it, and the chat in between; nothing before it is known which. */
function showState() {
  if (!isReady) return;
  const wasIn = isIn;
  isIn = chat.state !== "start" && chat.state !== "ended" && (isIn || chat.state === "open");
  elements.start.hidden = isIn;
  elements.chat.hidden = !isIn;
  // On a phone, the focus would open the keyboard over the conversation.
  const isPhone = matchMedia("(pointer: coarse)").matches;
  if (isIn && !wasIn) elements[isPhone ? "conversation" : "message"].focus();
  if (!isIn && chat.state !== "connecting") elements.nickname.focus();
}

/** Open or close the list of rooms and people, which covers the conversation on a narrow screen. */
function openSidebar(isOpen) {
  if (elements.room.inert === isOpen) return;
  elements.chat.classList.toggle("sidebar-open", isOpen);
  elements["open-sidebar"].ariaExpanded = String(isOpen);
  elements.room.inert = isOpen;
  (isOpen ? elements["close-sidebar"] : elements["open-sidebar"]).focus();
}
elements["open-sidebar"].addEventListener("click", () => openSidebar(true));
for (const id of ["close-sidebar", "shade"]) {
  elements[id].addEventListener("click", () => openSidebar(false));
}
current.addEventListener("show", () => openSidebar(false));
matchMedia("(max-width: 48rem)").addEventListener("change", () => openSidebar(false));

chat.addEventListener("state", showState);
isIn = await chat.start();
isReady = true;
showState();
