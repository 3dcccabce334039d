// What stands where no results are: the start, waiting, nothing found, something wrong. And the conditions in force.

import { api } from "./api.js";
import { figureImg } from "./card.js";
import { fill, h, icon } from "./dom.js";
import { clearFilters, onCounts, permitted, refreshUnknown } from "./filters.js";
import { moreLike } from "./known.js";
import { chooseFile } from "./query.js";
import { search } from "./search.js";
import { change, filterJson, fresh, state } from "./state.js";
import { indexOf, modelOf } from "./status.js";
import { lostItems, removeItems } from "./uploads.js";
import { altText, className, count, dated, letter, longDay, number, patentName, sentence } from "./words.js";

const EXAMPLES = 6;
let examples = null; // figures of the index to start from, asked for once

/** The conditions in force, or those of another search: {text, patch that takes it away}. */
export function conditions(given = state) {
  const how = dated(given.date_field);
  const each = (name, text) => given[name].map((value) => ({ text: text(value), patch: { [name]: given[name].filter((other) => other !== value) } }));
  return [
    given.before ? { text: `${how} before ${longDay(given.before)}`, patch: { before: 0 } } : null,
    given.since ? { text: `${how} from ${longDay(given.since)}`, patch: { since: 0 } } : null,
    ...each("locarno", (value) => ["class", value, /[-/]/.test(value) ? "" : className(value)].filter(Boolean).join(" ")),
    ...each("view", (value) => (value ? `${value} view` : "view not known")),
    ...each("office", (value) => `office ${value || "not known"}`),
    ...each("applicant", (value) => value || "applicant not known"),
    given.title.trim() ? { text: `title: ${given.title.trim()}`, patch: { title: "" } } : null,
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
  drawLead();
  return h("div", { class: "start" },
    h("button", { type: "button", class: "start-sheet", "aria-label": "Choose a drawing to search with", onclick: chooseFile },
      h("span", { class: "corner nw" }), h("span", { class: "corner ne" }), h("span", { class: "corner sw" }), h("span", { class: "corner se" }),
      icon("upload"), h("strong", {}, "Drop a drawing here"), h("span", {}, "or paste one with Ctrl V, or choose a file")),
    lead, samples);
}

const lead = h("p", { class: "lead", "aria-live": "polite" });
onCounts(drawLead);

/** What a drawing will be compared with: all of the index, or what the conditions leave of it. */
function drawLead() {
  const { figures, designs } = indexOf();
  const all = `${count(figures, "figure")} of ${count(designs, "design")}`;
  const left = permitted();
  const some = left ? `the ${count(left.figures, "figure")} of ${count(left.designs, "design")} that the conditions above leave of ${number(figures)}` : `what the conditions above leave of ${all}`;
  const what = conditions().length ? some : all;
  lead.textContent = !figures ? "The index is empty. Add figures with tools/build_index.py, then reload this page."
    : modelOf() ? `A drawing is compared with ${what}. A page with several figures is taken apart; up to eight figures make one query.`
      : `The service runs without a model: start from one of its ${count(figures, "figure")}, by number or below.${conditions().length ? ` It is compared with ${what}.` : ""}`;
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

const HEADINGS = { 0: "No connection to the service", 503: "The service is busy" };
const main = (name, act) => h("button", { type: "button", class: "primary", onclick: act }, name);

/** Search, and count, once more. */
function tryAgain() {
  search();
  refreshUnknown();
}

const again = () => main([icon("again"), "Try again"], tryAgain);

export function failedState(error) {
  const lost = error.status === 410 ? lostItems() : [];
  if (lost.length) return lostState(lost);
  const at = error.status >= 400 && error.status < 500 ? /\bQuery figure ([A-H])\b/i.exec(error.message)?.[1] : null; // asked again, it would be refused again
  const wrong = at && state.query.find((_, place) => letter(place) === at.toUpperCase());
  return message(HEADINGS[error.status] ?? "The search did not succeed", [error.message], wrong ? main("Remove it", () => removeItems([wrong.id])) : again());
}

const message = (heading, texts, ...buttons) =>
  h("div", { class: "message problem-box", role: "alert" }, icon("warn"), h("h2", {}, heading), texts.map((text) => h("p", {}, text)), h("div", { class: "buttons" }, buttons));

/** Drawings that only somebody who has their files can bring back. */
function lostState(lost) {
  const [what, it, its, file] = lost.length > 1 ? ["drawings are", "them", "their", "files"] : ["drawing is", "it", "its", "file"];
  const named = lost.map((each) => `${letter(state.query.indexOf(each))}, “${each.name}”`).join("; ");
  return message(`The ${what} no longer on the server`, [
    `Query figure${lost.length > 1 ? "s" : ""} ${named}: the service was started again, or was given so many drawings since that they took ${its} place. This page was loaded anew and does not have the ${file} either.`,
    `Add the ${file} again to go on, or search without ${it}.`],
    main("Add again", chooseFile), h("button", { type: "button", onclick: () => removeItems(lost.map((each) => each.id)) }, `Remove ${it}`));
}

/** Above a list that is no longer what is asked for, since the newer search failed. */
export function outdatedBanner(error, { filter, items, request }) {
  const earlier = conditions({ ...fresh(), ...filter }).map(({ text }) => text);
  const asked = [items.length ? count(items.length, "drawing") : "", request.text ? `“${request.text}”` : ""].filter(Boolean).join(" and ");
  return h("div", { class: "banner bad", role: "alert" }, icon("warn"),
    h("div", {}, h("p", {}, h("strong", {}, "What is set now could not be searched for."), " ", error.message),
      h("p", {}, h("strong", {}, "Below are results of the earlier conditions: "), `${[asked, ...earlier].join("; ")}${earlier.length ? "" : "; no conditions"}.`)),
    again());
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

