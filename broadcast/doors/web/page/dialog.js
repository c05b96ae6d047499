// @ts-check
// The dialog that asks: a question, or for one line of text.

/** Return a new element. @param {string} tag @param {Record<string, any>} properties @param {...(string|Node)} children */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Show an error beside a field, or remove it. @param {any} field @param {any} note @param {string} text */
export function showError(field, note, text) {
  note.textContent = text;
  note.hidden = !text;
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

/**
 * Open the dialog, and return whether it was confirmed.
 * @param {Record<string, any>} elements
 * @param {{heading: string, yes: string, body: (string|Node)[], submit?: () => Promise<void>}} options
 *   `submit` runs before the dialog closes, and keeps it open if it fails.
 * @returns {Promise<boolean>}
 */
export function ask(elements, { heading, yes, body, submit }) {
  const dialog = elements.confirm;
  elements["confirm-heading"].textContent = heading;
  elements["confirm-body"].replaceChildren(...body);
  elements["confirm-yes"].textContent = yes;
  elements["confirm-no"].onclick = () => dialog.close();
  let isBusy = false;
  dialog.firstElementChild.onsubmit = async (event) => {
    event.preventDefault();
    if (isBusy) return;
    isBusy = true;
    try {
      await submit?.();
      dialog.close("yes");
    } catch {
      // The submit function has shown the error.
    } finally {
      isBusy = false;
    }
  };
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/**
 * Ask for one line of text. An error of `submit` stands beside the field.
 * @param {Record<string, any>} elements
 * @param {{heading: string, label: string, value?: string, hint?: string, yes: string, more?: Node[],
 *   submit: (text: string) => Promise<unknown>}} options
 */
export function askText(elements, { heading, label, value = "", hint = "", yes, more = [], submit }) {
  const field = make("input", { id: "dialog-field", value, autocomplete: "off", spellcheck: false });
  const note = make("p", { id: "dialog-error", className: "error", hidden: true });
  field.setAttribute("aria-describedby", "dialog-error dialog-hint");
  field.setAttribute("autocapitalize", "off");
  const body = [
    make("label", { htmlFor: field.id }, label),
    field,
    note,
    make("p", { id: "dialog-hint", className: "quiet" }, hint),
    ...more,
  ];
  const answer = ask(elements, {
    heading,
    yes,
    body,
    submit: async () => {
      showError(field, note, "");
      try {
        await submit(field.value.trim());
      } catch (error) {
        showError(field, note, error.message);
        field.focus();
        throw error;
      }
    },
  });
  field.focus();
  field.select();
  return answer;
}
