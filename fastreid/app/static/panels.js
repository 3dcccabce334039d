// What lies over the page: dialogs, drawers and short messages.

import { fill, h, icon, iconButton } from "./dom.js";

const toasts = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
document.body.append(toasts);

/** Say something for a few seconds; `actions` are {text: function} and close it. */
export function say(text, actions = {}, { stay = 5000 } = {}) {
  for (const old of toasts.querySelectorAll(".passing")) old.remove();
  const note = h("div", { class: stay ? "toast passing" : "toast" }, h("span", {}, text));
  const close = () => note.remove();
  for (const [name, act] of Object.entries(actions)) {
    note.append(h("button", { type: "button", class: "link", onclick: () => { close(); act(); } }, name));
  }
  note.append(iconButton("close", "Dismiss", close));
  home().append(toasts);
  toasts.append(note);
  if (stay) setTimeout(close, stay);
  return { note, close };
}

// an open dialog hides all else from the keyboard and from screen readers: messages go into the topmost one
function home() {
  const open = [...document.querySelectorAll("dialog[open]")];
  return open.at(-1) ?? document.body;
}

/**
 * A dialog with a title. `kind` is "drawer" (at the right), "box" (in the middle) or "full". A click outside closes it unless it
 * is `filled()` with what would be lost.
 */
export class Panel {
  constructor(kind, title, { onclose = () => {}, locked = false, filled = () => false } = {}) {
    this.title = h("h2", { id: `title-${Panel.count++}` }, title);
    this.actions = h("div", { class: "panel-actions" });
    this.body = h("div", { class: "panel-body" });
    this.element = h("dialog", { class: `panel ${kind}`, tabindex: -1, "aria-labelledby": this.title.id },
      h("header", {}, this.title, this.actions, locked ? null : iconButton("close", "Close (Esc)", () => this.close())),
      this.body);
    this.element.addEventListener("close", () => { home().append(toasts); if (document.activeElement === document.body) this.goBack(); onclose(); });
    this.element.addEventListener("cancel", (event) => locked && event.preventDefault());
    this.element.addEventListener("mousedown", (event) => {
      if (locked || event.target !== this.element || !outside(event, this.element)) return;
      event.preventDefault(); // what lies beneath does not take the focus
      if (!filled()) this.close();
    });
    document.body.append(this.element);
  }

  get open() {
    return this.element.open;
  }

  show() {
    if (this.open) return;
    this.opener = document.activeElement;
    this.element.showModal();
    this.element.focus(); // the keys of a panel work at once, and no button looks chosen
  }

  close() {
    if (!this.open) return;
    this.element.close();
    this.goBack();
  }

  /** Give the keyboard back to what opened the panel, or to the panel beneath. */
  goBack() {
    const { opener } = this; // may have been drawn anew meanwhile
    const again = opener?.isConnected ? opener : opener?.dataset?.key && document.querySelector(`[data-key="${CSS.escape(opener.dataset.key)}"]`);
    if (again && again !== document.body) again.focus({ preventScroll: true });
    else home().focus?.({ preventScroll: true });
  }
}
Panel.count = 0;

function outside(event, element) {
  const { left, right, top, bottom } = element.getBoundingClientRect();
  return event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
}

/**
 * What is wrong with a list of kept things: that it could not be loaded (`failed`, a sentence), and how many of them are
 * `damaged`. `names` are [one of them, several, their folder]; `again()` loads the list once more.
 */
export function troubles({ failed, damaged }, [one, many, folder], again) {
  const line = (...content) => h("div", { class: "notice", role: "alert" }, icon("warn"), content);
  const [what, them] = damaged === 1 ? [`1 ${one} is`, "it lies"] : [`${damaged} ${many} are`, "they lie"];
  return [
    failed ? line(h("p", {}, h("strong", {}, `The ${many} cannot be loaded.`), " ", failed), h("button", { type: "button", class: "link", "data-key": "load-again", onclick: again }, "Try again")) : null,
    damaged ? line(h("p", {}, h("strong", {}, `${what} damaged`), ` and cannot be shown. The server's log names ${damaged === 1 ? "it" : "them"}; ${them} untouched in the folder “${folder}” of its --state folder.`)) : null];
}

/** Ask for a few lines of text; resolves with {name: value}, or null where nothing was given. */
export function ask(title, fields, done) {
  return new Promise((resolve) => {
    let given = null;
    const panel = new Panel("box", title, { onclose: () => { panel.element.remove(); resolve(given); }, filled: () => inputs.some(([name, input]) => input.value !== (fields[name].value ?? "")) });
    const inputs = Object.entries(fields).map(([name, { label, value = "", area = false, required = false, hint = "" }]) => [name,
      h(area ? "textarea" : "input", { name, value, required, maxlength: area ? 4000 : 200, rows: area ? 4 : null, autocomplete: "off" }), label, hint]);
    const form = h("form", { method: "dialog", class: "ask" },
      inputs.map(([, input, label, hint]) => h("label", {}, label, input, hint ? h("small", {}, hint) : null)),
      h("div", { class: "buttons" },
        h("button", { type: "button", onclick: () => panel.close() }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, done)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      given = Object.fromEntries(inputs.map(([name, input]) => [name, input.value.trim()]));
      panel.close();
    });
    form.addEventListener("keydown", onCtrlEnter(() => form.requestSubmit()));
    fill(panel.body, form);
    panel.show();
    inputs[0]?.[1].focus();
    inputs[0]?.[1].select();
  });
}

/** A listener of keys that calls `act` for Ctrl+Enter, which ends a text of several lines. */
export const onCtrlEnter = (act) => (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && act();

/** A box for a text that is kept however it is closed, but for Cancel: `oninput(text)`, `onclose(cancelled)`. */
export function noteBox(title, label, text, { oninput, onclose }) {
  let cancelled = false;
  const panel = new Panel("box", title, { onclose: () => { panel.element.remove(); onclose(cancelled); } });
  const area = h("textarea", { name: "note", maxlength: 4000, rows: 4, autocomplete: "off", value: text, oninput: () => oninput(area.value) });
  const form = h("form", { class: "ask" }, h("label", {}, label, area),
    h("div", { class: "buttons" },
      h("button", { type: "button", onclick: () => { cancelled = true; panel.close(); } }, "Cancel"),
      h("button", { type: "submit", class: "primary" }, "Keep")));
  form.addEventListener("submit", (event) => { event.preventDefault(); panel.close(); });
  form.addEventListener("keydown", onCtrlEnter(() => panel.close()));
  fill(panel.body, form);
  panel.show();
  area.focus();
}

/** Ask whether to go on with something that cannot be undone. */
export const confirmed = (title, text, done) =>
  new Promise((resolve) => {
    let answer = false;
    const panel = new Panel("box", title, { onclose: () => { panel.element.remove(); resolve(answer); } });
    fill(panel.body, h("p", {}, text), h("div", { class: "buttons" },
      h("button", { type: "button", onclick: () => panel.close() }, "Cancel"),
      h("button", { type: "button", class: "danger", onclick: () => { answer = true; panel.close(); } }, done)));
    panel.show();
  });

/** A button that opens a small menu below it. `entries` are {text: function}. */
export function menuButton(properties, content, entries) {
  const details = h("details", { class: "menu" },
    h("summary", { role: "button", ...properties }, content),
    h("div", { class: "menu-items" }, Object.entries(entries).map(([text, act]) =>
      h("button", { type: "button", onclick: () => { details.open = false; act(); } }, text))));
  details.addEventListener("focusout", (event) => {
    if (!details.contains(event.relatedTarget)) details.open = false;
  });
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    event.stopPropagation();
    event.preventDefault();
    details.open = false;
    details.firstChild.focus();
  });
  return details;
}
