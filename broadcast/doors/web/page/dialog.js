// The dialog that asks a question, or for one line of text.

import { make } from "./drawing.js";

/** Show an error beside a field, or remove it. */
export function showError(field, note, text) {
  note.textContent = text;
  note.hidden = !text;
  field.ariaInvalid = String(!!text);
}

/**
 * Ask, and return whether the person has confirmed. With a `label`, the dialog has a field for one line of text.
 * @param {{heading: string, yes: string, body?: (string|Node)[], label?: string, value?: string, submit?: (text:
 *   string) => any}} question `submit` runs before the dialog closes. Its error stands in the dialog.
 */
export function ask(elements, { heading, yes, body = [], label, value = "", submit = () => {} }) {
  const dialog = elements.confirm;
  const form = dialog.firstElementChild;
  const note = make("p", "error");
  const field = make(label ? "input" : "span");
  note.id = "dialog-error";
  note.hidden = true;
  field.setAttribute("aria-describedby", note.id);
  if (label) Object.assign(field, { value, autocomplete: "off", spellcheck: false, autocapitalize: "off" });
  elements["confirm-heading"].textContent = heading;
  elements["confirm-body"].replaceChildren(...(label ? [make("label", "field", label, field)] : []), note, ...body);
  elements["confirm-yes"].textContent = yes;
  elements["confirm-no"].onclick = () => dialog.close("no");
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      await submit(label ? field.value.trim() : "");
      dialog.close("yes");
    } catch (error) {
      showError(field, note, error.message);
      field.focus();
    }
  };
  dialog.returnValue = "no";
  dialog.showModal();
  if (label) field.select();
  else elements["confirm-no"].focus();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
  });
}
