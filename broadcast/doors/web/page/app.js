// @ts-check
// The start of the page: makes the chat and its views, and shows the join form or the chat.

import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { ConversationView } from "./conversation.js";
import { Current } from "./current.js";
import { JoinForm } from "./join.js";
import { Notifications } from "./notifications.js";
import { Search } from "./search.js";
import { Sidebar } from "./sidebar.js";

/** All elements of the page that have an id, by their id. @type {Record<string, any>} */
const elements = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);
const chat = new Chat();
const current = new Current();
const views = [ConversationView, Sidebar, Composer, JoinForm, Search, Notifications];
for (const View of views) new View(chat, elements, current);

let joined = false;

/** Show the join form until a session exists, and the chat from then on. */
function showState() {
  const starts = chat.state === "start" || (chat.state === "connecting" && !joined);
  joined ||= chat.state === "open";
  if (chat.state === "start") joined = false;
  elements.start.hidden = !starts;
  elements.chat.hidden = starts;
}
chat.addEventListener("state", showState);
showState();

/** Open or close the list of rooms and people, which covers the conversation on a narrow screen. */
function openSidebar(isOpen) {
  elements.chat.classList.toggle("sidebar-open", isOpen);
  elements["open-sidebar"].setAttribute("aria-expanded", String(isOpen));
  (isOpen ? elements["close-sidebar"] : elements["open-sidebar"]).focus();
}
elements["open-sidebar"].addEventListener("click", () => openSidebar(true));
for (const id of ["close-sidebar", "shade"]) {
  elements[id].addEventListener("click", () => openSidebar(false));
}
current.addEventListener("show", () => elements.chat.classList.remove("sidebar-open"));
