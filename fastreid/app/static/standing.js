// What stands where no results are: the start, waiting, nothing found, something wrong. And the conditions in force.

import { api } from "./api.js";
import { figureImg } from "./card.js";
import { fill, h, icon } from "./dom.js";
import { clearFilters } from "./filters.js";
import { moreLike } from "./known.js";
import { chooseFile } from "./query.js";
import { dropLost, search } from "./search.js";
import { change, filterJson, state } from "./state.js";
import { indexOf, modelOf } from "./status.js";
import { altText, className, count, dated, longDay, patentName, sentence } from "./words.js";

const EXAMPLES = 6;
let examples = null; // figures of the index to start from, asked for once

/** The conditions in force: {text, patch that takes it away}. */
export function conditions() {
  const how = dated(state.date_field);
  const each = (name, text) => state[name].map((value) => ({ text: text(value), patch: { [name]: state[name].filter((other) => other !== value) } }));
  return [
    state.before ? { text: `${how} before ${longDay(state.before)}`, patch: { before: 0 } } : null,
    state.since ? { text: `${how} from ${longDay(state.since)}`, patch: { since: 0 } } : null,
    ...each("locarno", (value) => ["class", value, /[-/]/.test(value) ? "" : className(value)].filter(Boolean).join(" ")),
    ...each("view", (value) => (value ? `${value} view` : "view not known")),
    ...each("office", (value) => `office ${value || "not known"}`),
    ...each("applicant", (value) => value || "applicant not known"),
    state.title.trim() ? { text: `title: ${state.title.trim()}`, patch: { title: "" } } : null,
    ...each("not_patents", (value) => `without ${patentName(value)}`),
  ].filter(Boolean);
}

export function conditionChips() {
  return conditions().map(({ text, patch }) =>
    h("button", { type: "button", class: "chip", "aria-label": `Remove the condition ${text}`, onclick: () => change(patch) }, text, icon("close")));
}

export const skeletons = () =>
  h("div", { class: "grid", "aria-hidden": "true" }, Array.from({ length: 12 }, () => h("div", { class: "card skeleton" }, h("div", { class: "sheet-box" }), h("div", { class: "line" }), h("div", { class: "line short" }))));

// -- the start -----------------------------------------------------------------------------------------------------------

export function emptyState() {
  const samples = h("div", { class: "samples" });
  offerExamples(samples);
  const { figures, designs } = indexOf();
  const told = figures ? `A drawing is compared with ${count(figures, "figure")} of ${count(designs, "design")}. A page with several figures is taken apart; up to eight figures make one query.`
    : "The index is empty. Add figures with tools/build_index.py, then reload this page.";
  return h("div", { class: "start" },
    h("button", { type: "button", class: "start-sheet", "aria-label": "Choose a drawing to search with", onclick: chooseFile },
      h("span", { class: "corner nw" }), h("span", { class: "corner ne" }), h("span", { class: "corner sw" }), h("span", { class: "corner se" }),
      icon("upload"), h("strong", {}, "Drop a drawing here"), h("span", {}, "or paste one with Ctrl V, or choose a file")),
    h("p", { class: "lead" }, modelOf() || !figures ? told : `The service runs without a model: start from one of its ${count(figures, "figure")}, by number or below.`),
    samples);
}

async function offerExamples(place) {
  examples ??= findExamples();
  const found = await examples;
  if (!found.length) return;
  fill(place, h("p", { class: "lead" }, "Or see how it works with a figure of the index:"),
    h("div", { class: "sample-row" }, found.map((figure) =>
      h("button", { type: "button", class: "sample", title: altText(figure), "aria-label": `Search for designs like ${altText(figure)}`, onclick: () => moreLike(figure) }, figureImg(figure, 256, "")))));
}

async function findExamples() {
  const { figures } = indexOf();
  const rows = Array.from({ length: Math.min(EXAMPLES, figures) }, (_, place) => Math.floor(((place + 0.35) * figures) / EXAMPLES));
  const found = await Promise.all(rows.map((row) => api.figure(row).catch(() => null)));
  return found.filter(Boolean);
}

// -- nothing found -------------------------------------------------------------------------------------------------------

export function nothingState(response) {
  const set = conditions();
  const list = h("ul", { class: "relax" });
  offerRelief(list, set);
  return h("div", { class: "message" }, h("h2", {}, "No design meets all conditions"),
    h("p", {}, set.length ? "Nothing can be compared: the conditions leave no figure. Take one away:" : response.searched.figures ? "There is no further result." : "The index holds no other figure."),
    list, set.length > 1 ? h("button", { type: "button", onclick: () => { change({ before: 0 }); clearFilters(); } }, "Take all away") : null);
}

async function offerRelief(list, set) {
  const found = await Promise.all(set.map(async ({ text, patch }) => {
    const left = await api.counts(filterJson({ ...state, ...patch })).catch(() => null);
    return { text, patch, designs: left?.designs ?? 0 };
  }));
  fill(list, found.sort((a, b) => b.designs - a.designs).map(({ text, patch, designs }) =>
    h("li", {}, h("button", { type: "button", class: "relax-button", onclick: () => change(patch) }, h("span", {}, "without “", text, "”"), h("strong", {}, count(designs, "design"))))));
}

// -- something wrong -----------------------------------------------------------------------------------------------------

const HEADINGS = { 0: "No connection to the service", 410: "The drawing is no longer on the server", 503: "The service is busy" };

export function failedState(error) {
  const again = h("button", { type: "button", class: "primary", onclick: search }, icon("again"), "Try again");
  const gone = error.status === 410;
  return h("div", { class: "message problem-box", role: "alert" }, icon("warn"),
    h("h2", {}, HEADINGS[error.status] ?? "The search did not succeed"), h("p", {}, error.message),
    gone ? h("p", {}, "Uploads are kept for a while only. Add the file again to go on.") : null,
    h("div", { class: "buttons" }, gone ? h("button", { type: "button", class: "primary", onclick: dropLost }, "Remove it and choose again") : again));
}

// -- a replay ------------------------------------------------------------------------------------------------------------

/** Patents of the conditions that the index does not have: nothing was left out for them. */
export function unknownBanner(patents = []) {
  if (!patents.length) return null;
  return h("div", { class: "banner bad", role: "status" }, icon("warn"),
    h("div", {}, `The index has no patent ${patents.join(", ")}: that condition changes nothing.`));
}

export function replayBanner({ name, same, differences, notes = [], recorded_version, version }) {
  return h("div", { class: `banner ${same ? "good" : "bad"}`, role: "status" }, icon(same ? "tick" : "warn"),
    h("div", {}, h("strong", {}, same ? `“${name}” gives the same result.` : `“${name}” gives another result: ${count(differences.length, "difference")}.`), " ",
      h("span", {}, recorded_version === version ? `Replayed on version ${version} of the index.` : `Recorded on version ${recorded_version} of the index, replayed on version ${version}.`),
      notes.map((each) => h("p", {}, sentence(each))),
      same ? null : h("details", {}, h("summary", {}, "Show the differences"), h("ul", {}, differences.map((each) => h("li", {}, each))))),
    h("button", { type: "button", class: "link", onclick: search }, "Leave the replay"));
}

