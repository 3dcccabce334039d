// The conditions on results, each value with the number of designs that it leaves.

import { api, patient } from "./api.js";
import { dateField } from "./dates.js";
import { fill, h, icon, later, redraw } from "./dom.js";
import { change, filterJson, state, subscribe } from "./state.js";
import { indexOf } from "./status.js";
import { years } from "./years.js";
import { className, count, dated, number, patentName } from "./words.js";

const FEW = 7; // values of a condition that are shown before "Show all"
const LISTS = ["locarno", "office", "view", "applicant"];

let counts = null; // the last that came: which values there are
let known = false; // whether they are those of the conditions in force
let heard = () => {};
let asking = null;
const opened = new Set(["class", "view", "title"]);
const everything = new Set(); // lists shown in full
const unfolded = new Set(); // classes whose subclasses are shown
const searched = {}; // what is looked for within a long list
const orders = new Map(); // facet: {value: place}, as it was when its group was opened: nothing moves under the pointer
const body = h("div", { class: "filter-groups" });
const total = h("div", { class: "total", "aria-live": "polite" });
export const filterSection = h("section", { class: "filters", "aria-label": "Filters" },
  h("div", { class: "row" }, h("h2", {}, "Filters"), h("button", { type: "button", class: "link clear", onclick: clearFilters }, "Clear")), total, body);

/** Take every condition away but the cut-off date. */
export function clearFilters() {
  change({ since: 0, locarno: [], office: [], view: [], applicant: [], not_patents: [], title: "" });
}

/** Whether a condition other than the cut-off date is set. */
export const filtered = () => Boolean(state.since || state.title.trim() || state.not_patents.length || LISTS.some((name) => state[name].length));

const unit = () => (state.group === "figure" ? "figures" : "designs");

/** What the conditions in force leave: {figures, designs}, or null while it is not known. */
export const permitted = () => (known ? counts : null);

/** `listener()` is called when what the conditions leave has become known or unknown. */
export function onCounts(listener) {
  heard = listener;
}

export async function refreshCounts() {
  asking?.abort();
  const { signal } = (asking = new AbortController());
  filterSection.classList.add("counting");
  try {
    counts = await patient(() => api.counts(filterJson(), signal), { signal });
    known = true;
  } catch (error) {
    if (error.name === "AbortError") return;
    known = false; // numbers of other conditions would be wrong
  }
  asking = null;
  filterSection.classList.remove("counting");
  draw();
  heard();
}

/** Ask for the counts where the last answer did not come. */
export function refreshUnknown() {
  if (!known && !asking) refreshCounts();
}
const refreshSoon = later(refreshCounts, 80);

function toggleValue(name, value, on) {
  let values = state[name].filter((each) => each !== value);
  // a class holds its subclasses: one of both is a condition
  if (on && name === "locarno") values = values.filter((each) => !each.startsWith(`${value}-`) && !each.startsWith(`${value}/`) && !value.startsWith(`${each}-`) && !value.startsWith(`${each}/`));
  change({ [name]: on ? [...values, value] : values });
}

function option(name, { value, figures = 0, designs = 0 }, text, more = {}) {
  const amount = unit() === "figures" ? figures : designs;
  const none = known && !amount;
  const on = state[name].includes(value);
  return h("li", { class: more.class },
    more.before ?? null,
    h("label", { class: `option${none ? " none" : ""}` },
      h("input", { type: "checkbox", checked: on, "data-key": `${name}-${value}`, onchange: (event) => toggleValue(name, value, event.target.checked) }),
      h("span", { class: "name", title: text }, text), h("span", { class: "amount" }, known ? number(amount) : "")));
}

/** Values of a facet that the index knows or that are chosen, with what is left of them; those with most first when it was opened. */
function valuesOf(facet, name = facet) {
  const values = new Map([...state[name], ...(indexOf().facets?.[facet] ?? []).map(({ value }) => value)].map((value) => [value, { value }]));
  for (const each of counts.facets[facet] ?? []) values.set(each.value, each);
  const sorted = [...values.values()].sort((a, b) => (b[unit()] ?? 0) - (a[unit()] ?? 0) || a.value.localeCompare(b.value));
  if (!orders.has(facet)) orders.set(facet, new Map(sorted.map(({ value }, place) => [value, place])));
  const place = ({ value }) => orders.get(facet).get(value) ?? Infinity;
  return sorted.sort((a, b) => (place(a) === place(b) ? 0 : place(a) - place(b)));
}

function list(facet, name, values, render) {
  const wanted = (searched[facet] ?? "").toLowerCase();
  const found = wanted ? values.filter((each) => each.value.toLowerCase().includes(wanted) || className(each.value).toLowerCase().includes(wanted)) : values;
  const long = found.length > FEW + 2;
  const shown = long && !everything.has(facet) ? found.filter((each, place) => place < FEW || state[name].some((value) => value.startsWith(each.value) && each.value)) : found;
  return [
    values.length > 14 && everything.has(facet) ? h("input", { type: "search", class: "small", placeholder: "Find in this list", "aria-label": `Find in ${facet}`, "data-key": `find-${facet}`, value: searched[facet] ?? "",
      oninput: (event) => { searched[facet] = event.target.value; draw(); } }) : null,
    h("ul", { class: "options" }, shown.map(render)),
    long ? h("button", { type: "button", class: "link", "data-key": `all-${facet}`, onclick: () => { everything.has(facet) ? everything.delete(facet) : everything.add(facet); draw(); } },
      everything.has(facet) ? "Show fewer" : `Show all ${found.length}`) : null];
}

function classes() {
  const values = valuesOf("class", "locarno").filter(({ value }) => !/[-/]/.test(value));
  const below = counts.facets.locarno ?? [];
  return list("class", "locarno", values.filter(({ value }) => value), (each) => {
    const subclasses = below.filter(({ value }) => value.startsWith(`${each.value}-`) || value.startsWith(`${each.value}/`));
    const open = unfolded.has(each.value) || state.locarno.some((value) => value !== each.value && (value.startsWith(`${each.value}-`) || value.startsWith(`${each.value}/`)));
    const turn = () => { open ? unfolded.delete(each.value) : unfolded.add(each.value); draw(); };
    return [
      option("locarno", each, [each.value, className(each.value)].filter(Boolean).join(" "), {
        before: subclasses.length ? h("button", { type: "button", class: `unfold${open ? " open" : ""}`, "data-key": `unfold-${each.value}`, "aria-expanded": String(open), "aria-label": `Subclasses of class ${each.value}`, onclick: turn }, icon("right")) : h("span", { class: "unfold" }) }),
      open ? subclasses.map((sub) => option("locarno", sub, [sub.value, sub.name && sub.name !== className(each.value) ? sub.name : ""].filter(Boolean).join(" "), { class: "sub" })) : null];
  });
}

// the index knows the years of one kind of date; those of the other are taken as they come
const yearValues = () => (counts.facets.year.some(({ value }) => value) || state.date_field !== "date" ? counts.facets.year : indexOf().facets.year.map(({ value }) => ({ value, figures: 0, designs: 0 })));

const plain = (name) => list(name, name, valuesOf(name), (each) => option(name, each, each.value || "not known"));

function group(key, title, active, ...content) {
  const toggled = ({ target }) => {
    if (!target.open) return opened.delete(key);
    if (opened.has(key)) return undefined; // it was only drawn again
    opened.add(key);
    orders.delete(key);
    return draw();
  };
  return h("details", { open: opened.has(key), ontoggle: toggled },
    h("summary", { "data-key": `group-${key}` }, heading(title, active)), content);
}

const heading = (title, active) => [title, active ? h("span", { class: "dot", title: "A condition is set" }) : null, icon("down")];

const title = h("input", { type: "search", id: "title-words", placeholder: "round table", autocomplete: "off", "data-key": "title-words",
  oninput: later(() => change({ title: title.value }, "replace"), 350) });
// several in one line; a design patent may be written "US D359,000 S"
const PATENTS = /(?:US\s*)?D\s*\d[\d,]*\d(?:\s*S\d?\b)?|[^\s,;]+/gi;
const exclude = h("form", { class: "with-button", onsubmit: (event) => {
  event.preventDefault();
  const given = exclude.elements[0].value.match(PATENTS) ?? [];
  exclude.elements[0].value = "";
  if (given.length) change({ not_patents: [...new Set([...state.not_patents, ...given])] });
} }, h("input", { type: "text", "aria-label": "Patent to leave out", placeholder: "USD0510000", autocomplete: "off", "data-key": "exclude" }), h("button", { type: "submit" }, "Leave out"));
const since = dateField("since", (day) => (day ? `Still from ${day} on.` : "No such day is in force."));

// a field in which somebody types stays where it is: drawn again, it would lose the part that the keyboard is on
const above = h("div", {});
const below = h("div", {});
const bars = h("div", {});
const yearHead = h("summary", { "data-key": "group-year" });
const yearGroup = h("details", { open: true, hidden: true }, yearHead, bars,
  h("div", { class: "row" }, h("label", { for: "since" }, "Not before"), since.field), since.problem);
body.append(above, yearGroup, below);

function draw() {
  if (!known) fill(total, "How many remain is not known. ", h("button", { type: "button", class: "link", onclick: refreshCounts }, "Count again"));
  if (!counts) return;
  if (known) total.textContent = `${count(counts.designs, "design")}, ${count(counts.figures, "figure")} remain`;
  filterSection.querySelector(".clear").hidden = !filtered();
  if (document.activeElement !== title) title.value = state.title;
  const many = (facet) => (indexOf().facets?.[facet] ?? counts.facets[facet] ?? []).some(({ value }) => value);
  redraw(above,
    many("class") ? group("class", "Locarno class", state.locarno.length, classes()) : null,
    many("view") ? group("view", "View", state.view.length, plain("view")) : null);
  yearGroup.hidden = !many("year");
  fill(yearHead, heading(`Year ${dated(state.date_field)}`, state.since));
  if (!yearGroup.hidden) redraw(bars, years(yearValues(), unit(), known));
  redraw(below,
    group("title", "Words of the title", state.title, h("label", { class: "visually-hidden", for: "title-words" }, "All these words occur in the title"), title),
    many("office") ? group("office", "Office", state.office.length, plain("office")) : null,
    many("applicant") ? group("applicant", "Applicant", state.applicant.length, plain("applicant")) : null,
    group("exclude", "Leave out patents", state.not_patents.length, exclude,
      h("ul", { class: "chips" }, state.not_patents.map((patent) => h("li", {}, h("button", { type: "button", class: "chip", "aria-label": `Show ${patent} again`,
        onclick: () => change({ not_patents: state.not_patents.filter((each) => each !== patent) }) }, patentName(patent), icon("close")))))));
}

subscribe((changed) => {
  const filter = ["before", "since", "date_field", "title", "not_patents", ...LISTS].some((name) => changed.has(name));
  if (filter) refreshSoon();
  if (counts && (filter || changed.has("group"))) draw();
});
