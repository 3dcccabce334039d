// Building the page. Texts come from data that nobody has vouched for: they only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `h("button", {class: "quiet", onclick: go, "aria-label": "Go"}, "Go", icon("arrow"))`. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in PROPERTIES) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

// what an attribute would set only as the initial value
const PROPERTIES = { value: 1, checked: 1, disabled: 1, indeterminate: 1 };

function append(element, children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Put children in place of those that an element has. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** Draw again without losing the place of the keyboard: elements are told apart by `data-key`. */
export function redraw(element, ...children) {
  const active = document.activeElement;
  const key = element.contains(active) ? active.dataset.key : undefined;
  const scroll = element.scrollTop;
  fill(element, ...children);
  element.scrollTop = scroll;
  if (key) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
  return element;
}

// strokes in a box of 20 x 20
const PATHS = {
  plus: "M10 4v12M4 10h12",
  close: "M5 5l10 10M15 5 5 15",
  left: "M12.5 4.5 7 10l5.5 5.5",
  right: "M7.5 4.5 13 10l-5.5 5.5",
  down: "M4.5 7.5 10 13l5.5-5.5",
  turnLeft: "M4 3.5v4.3h4.3M4.4 7.8A6.3 6.3 0 1 1 3.8 11",
  turnRight: "M16 3.5v4.3h-4.3M15.6 7.8A6.3 6.3 0 1 0 16.2 11",
  mirror: "M10 3v14M7.5 6 2.5 14h5zM12.5 6l5 8h-5z",
  crop: "M6 2v12h12M2 6h12v12",
  bin: "M4 5.5h12M8 5.5V3.5h4v2M5.5 5.5l.8 11h7.4l.8-11M8.5 8.5v5M11.5 8.5v5",
  mark: "M5.5 3h9v14L10 13.4 5.5 17z",
  like: "M3 5h8v8H3zM14 8h3v9H8v-1.5",
  saved: "M10 3a7 7 0 1 1-6.3 4M3.2 3.2v4h4M10 6.2V10l2.8 2",
  save: "M10 3v9M6.2 8.5 10 12.3l3.8-3.8M3.5 13.5V17h13v-3.5",
  upload: "M10 13V4M6.2 7.5 10 3.7l3.8 3.8M3.5 13.5V17h13v-3.5",
  theme: "M10 3.2v13.6M10 3.2a6.8 6.8 0 1 0 0 13.6M10 3.2a6.8 6.8 0 0 1 0 13.6",
  keys: "M2.5 5.5h15v9h-15zM5.5 8.3h.1M8.5 8.3h.1M11.5 8.3h.1M14.5 8.3h.1M6.5 11.7h7",
  filter: "M3 5h14M5.5 10h9M8.5 15h3",
  zoomIn: "M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M13 13l4 4M9 6.5v5M6.5 9h5",
  zoomOut: "M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M13 13l4 4M6.5 9h5",
  fit: "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
  match: "M4.5 6a1.5 1.5 0 1 0 0-.1M15.5 6a1.5 1.5 0 1 0 0-.1M4.5 15a1.5 1.5 0 1 0 0-.1M15.5 13a1.5 1.5 0 1 0 0-.1M7.5 6h8M7.5 15l8-2",
  again: "M16 3.5v4.3h-4.3M15.6 7.8A6.3 6.3 0 1 0 16.2 11",
  warn: "M10 3 2.5 16.5h15zM10 8v4M10 14.2v.1",
  tick: "M4 10.5 8.2 15 16 5.5",
  edit: "M4 16l.6-3L13 4.6l2.4 2.4L7 15.4z",
};

/** An icon as inline SVG; it says nothing to screen readers, its button does. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon alone and tells what it does by its name and tip. */
export function iconButton(name, label, onclick, more = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...more }, icon(name));
}

/** A row of choices of which one holds; `refused` are {value: reason} of those that cannot be chosen. */
export function choice(label, options, current, choose, refused = {}) {
  return h("div", { class: "choice", role: "group", "aria-label": label },
    Object.entries(options).map(([value, text]) =>
      h("button", { type: "button", "aria-pressed": String(value === current), "data-key": `${label}-${value}`,
        title: refused[value], disabled: Boolean(refused[value]) && value !== current, onclick: () => choose(value) }, text)));
}

/** Call `run` once, `wait` milliseconds after the last call; `.stop()` takes a pending call back. */
export function later(run, wait) {
  let timer = 0;
  const call = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(run, wait, ...given);
  };
  call.stop = () => clearTimeout(timer);
  return call;
}
