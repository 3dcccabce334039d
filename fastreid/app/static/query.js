// The left side, above the filters: cut-off date, drawings, words, and how they are compared.

import { dateField } from "./dates.js";
import { choice, fill, h, icon, later, redraw } from "./dom.js";
import { sameBox } from "./geometry.js";
import { known } from "./known.js";
import { showThumb } from "./pictures.js";
import { showStage, stage } from "./stage.js";
import { change, item, state, subscribe } from "./state.js";
import { indexOf } from "./status.js";
import { addFiles, limits, notice, onPending, removeItems, room } from "./uploads.js";
import { count, dated, letter, longDay } from "./words.js";

let pending = 0;

const file = h("input", { type: "file", id: "file", accept: "image/*,.tif,.tiff", multiple: true, class: "visually-hidden", tabindex: -1, "aria-hidden": "true",
  onchange: () => { addFiles(file.files); file.value = ""; } });
export const chooseFile = () => file.click();

// -- the cut-off date ----------------------------------------------------------------------------------------------------

const before = dateField("before", (day) => (day ? `The cut-off is still ${day}.` : "No cut-off is in force."), "before-means");
const beforeMeans = h("p", { class: "hint", id: "before-means" });
const beforeField = h("div", {});
const anyDay = h("button", { type: "button", class: "link", onclick: () => change({ before: 0 }) }, "No cut-off");

/** Which of the two dates no figure of the index has, with the reason. */
function withoutDates() {
  const names = { date: "dates of publication", filed: "filing dates" };
  const missing = Object.entries(indexOf().dates ?? {}).filter(([, [from]]) => !from);
  return Object.fromEntries(missing.map(([name]) => [name, `This index has no ${names[name]}.`]));
}

export function drawCutOff() {
  const how = dated(state.date_field);
  const without = withoutDates();
  redraw(beforeField, choice("Which date counts", { date: "Published", filed: "Filed" }, state.date_field, (value) => change({ date_field: value }), without));
  anyDay.hidden = !state.before;
  const means = state.before
    ? `Only designs ${how} before ${longDay(state.before)}. That day itself and designs without a date are left out.`
    : `Set a day to see only designs ${how} before it: prior art for a filing of that day.`;
  beforeMeans.textContent = [means, ...Object.values(without)].join(" ");
}

const cutOff = h("section", { class: "cut-off", "aria-label": "Cut-off date" },
  h("div", { class: "row" }, h("label", { for: "before" }, "Cut-off date"), anyDay),
  h("div", { class: "row" }, before.field, beforeField), before.problem, beforeMeans);

// -- drawings ------------------------------------------------------------------------------------------------------------

const thumbs = h("div", { class: "thumbs", role: "group", "aria-label": "Query figures" });
const title = h("h2", {}, "Drawings");
const clear = h("button", { type: "button", class: "link", onclick: () => removeItems(state.query.map((each) => each.id)) }, "Remove all");
const picker = h("div", { class: "picker" });
const zone = h("button", { type: "button", class: "drop-zone", id: "drop-zone", onclick: chooseFile },
  icon("upload"), h("strong", {}, "Drop a drawing"), h("span", {}, "paste it, or choose a file"));

function thumb(each, place) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  showThumb(canvas, each, 60).catch(() => canvas.classList.add("lost"));
  const name = `Query figure ${letter(place)}: ${each.name || "drawing"}${each.region === null ? "" : `, figure ${each.region + 1} of the page`}`;
  return h("div", { class: "thumb" },
    h("button", { type: "button", "data-key": `thumb-${each.id}`, "aria-pressed": String(place === state.selected), "aria-label": name, title: each.name,
      onclick: () => change({ selected: place }, "none") }, canvas, h("span", { class: "letter" }, letter(place))),
    h("button", { type: "button", class: "remove", "aria-label": `Remove query figure ${letter(place)}`, title: "Remove", onclick: () => removeItems([each.id]) }, icon("close")));
}

function drawThumbs() {
  const any = state.query.length + pending > 0;
  title.textContent = any ? `Drawings, ${state.query.length} of ${limits.query_figures}` : "Drawings";
  clear.hidden = state.query.length < 2;
  zone.hidden = any;
  const adding = Array.from({ length: pending }, () => h("div", { class: "thumb loading", "aria-hidden": "true" }));
  const more = room() - pending > 0
    ? h("button", { type: "button", class: "thumb add", "data-key": "add", "aria-label": "Add a drawing", title: "Add a drawing (U)", onclick: chooseFile }, icon("plus")) : null;
  redraw(thumbs, any ? [...state.query.map(thumb), adding, more] : []);
}

function drawPicker() {
  const chosen = state.query[state.selected];
  const figures = chosen?.figures?.length > 1 ? chosen.figures : [];
  if (!figures.length) return fill(picker);
  const own = state.query.filter((each) => each.upload === chosen.upload);
  const used = (box) => own.find((each) => sameBox(each.box, box));
  const toggle = (box, region) => {
    const now = used(box);
    if (now) return removeItems([now.id]);
    const { upload, name, width, height } = chosen;
    change({ query: [...state.query, item({ upload, name, width, height, figures, box, region })], selected: state.query.length });
  };
  return redraw(picker, h("p", {}, `${count(figures.length, "figure")} on this page. Which shall be searched?`),
    h("div", { class: "picks" }, figures.map(({ box, labelled }, region) => {
      const canvas = h("canvas", { "aria-hidden": "true" });
      showThumb(canvas, { ...chosen, box, rotate: 0, mirror: false }, 44).catch(() => {});
      const on = Boolean(used(box));
      return h("button", { type: "button", class: "pick", "data-key": `region-${region}`, "aria-pressed": String(on), disabled: !on && room() <= 0,
        "aria-label": `Figure ${region + 1} of the page${labelled ? "" : ", without a label"}`, onclick: () => toggle(box, region) },
        canvas, on ? icon("tick") : null);
    }), h("button", { type: "button", class: "pick words", "data-key": "region-whole", "aria-pressed": String(own.length === 1 && !own[0].box),
      onclick: () => change({ query: [...state.query.filter((each) => each.upload !== chosen.upload), { ...chosen, box: null, region: null }] }) }, "Whole page")));
}

// -- words, variants, fusion ---------------------------------------------------------------------------------------------

const text = h("input", { type: "search", id: "words", placeholder: "a chair with a round back", autocomplete: "off", enterkeyhint: "search",
  oninput: later(() => change({ text: text.value }, "replace"), 450), onkeydown: (event) => event.key === "Enter" && change({ text: text.value }) });
const words = h("div", { class: "words", hidden: true }, h("label", { for: "words" }, "Describe the design in words"), text);
const how = h("div", { class: "how" });

function toggle(name, label, tip) {
  return h("label", { class: "check", title: tip },
    h("input", { type: "checkbox", checked: state[name], "data-key": `how-${name}`, onchange: (event) => change({ [name]: event.target.checked }) }), label);
}

function drawHow() {
  if (document.activeElement !== text) text.value = state.text;
  const several = state.query.length + (state.text.trim() ? 1 : 0) > 1;
  redraw(how, state.query.length ? [
    h("div", { class: "row wrap" }, h("span", { class: "quiet" }, "Also try it"), toggle("rotations", "rotated", "Turned by 90, 180 and 270 degrees"), toggle("mirror", "mirrored", "Left and right exchanged")),
    several && state.group === "design" ? h("div", { class: "row wrap" }, h("span", { class: "quiet" }, "A design should resemble"),
      choice("A design should resemble", { mean: "all figures", max: "any figure" }, state.fusion, (value) => change({ fusion: value }))) : null] : []);
}

export function setText(can) {
  words.hidden = !can;
}

/** Where "/" goes. */
export const firstField = () => (words.hidden ? document.getElementById("known") : text);

export function buildQuery(panel) {
  panel.append(cutOff,
    h("section", { class: "drawings", "aria-label": "Drawings to search for" }, h("div", { class: "row" }, title, clear),
      notice, zone, thumbs, picker, stage, how, words, known, file));
  onPending((now) => { pending = now; drawThumbs(); });
  subscribe((changed) => {
    if (changed.has("before") || changed.has("date_field")) drawCutOff();
    if (changed.has("query") || changed.has("selected")) { drawThumbs(); drawPicker(); showStage(); }
    if (["query", "text", "rotations", "mirror", "fusion", "group"].some((name) => changed.has(name))) drawHow();
  });
  drawCutOff(); drawThumbs(); drawHow();
}
