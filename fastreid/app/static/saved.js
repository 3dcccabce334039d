// Saved searches: kept with their drawings on the service, opened again, replayed and compared with what was recorded.

import { api } from "./api.js";
import { h, icon, iconButton, redraw } from "./dom.js";
import { exportMenu } from "./exports.js";
import { guarded } from "./marks.js";
import { ask, confirmed, Panel, say, troubles } from "./panels.js";
import { current, outdated, showAnswer } from "./search.js";
import { change, fresh, item } from "./state.js";
import { altText, count, day, moment } from "./words.js";

const panel = new Panel("drawer", "Saved searches");
const NAMES = ["saved search", "saved searches", "searches"];
let saved = null; // null: not known yet
let trouble = { failed: "", damaged: 0 };

/** Ask for a name and keep the search that is shown. */
export async function saveCurrent() {
  if (!current) return say("Search for something first.");
  if (outdated()) return say("These results belong to earlier conditions. Search again before you save.");
  if (current.saved) return say("This search is saved already.", panel.open ? {} : { "Show saved searches": openSaved });
  const mine = current;
  const given = await ask("Save this search", {
    name: { label: "Name", value: suggestion(), required: true },
    notes: { label: "Notes", area: true, hint: "Query drawings, conditions, index version and results are kept with it." } }, "Save");
  if (!given) return undefined;
  return guarded(async () => {
    mine.saved = (await api.saveSearch({ search: mine.response.search, ...given })).id;
    say(`“${given.name}” is saved.`, { "Show saved searches": openSaved });
  });
}

function suggestion() {
  const first = current.items[0];
  const what = (first ? first.figure?.title ?? first.name : current.request.text) || "Search";
  const { before } = current.filter;
  return what.replace(/\.[a-z]{3,4}$/i, "").slice(0, 80) + (before ? `, before ${day(before)}` : "");
}

export async function openSaved() {
  panel.show();
  draw();
  await refresh();
}

async function refresh() {
  try {
    const { found, damaged } = await api.searches();
    saved = found;
    trouble = { failed: "", damaged };
  } catch (error) {
    trouble = { ...trouble, failed: error.message };
  }
  draw();
}

function draw() {
  redraw(panel.actions, current?.saved ? null : h("button", { type: "button", class: "text-button", "data-key": "save", disabled: !current || outdated(), onclick: async () => { await saveCurrent(); refresh(); } }, icon("save"), "Save this one"));
  if (!saved && !trouble.failed) return redraw(panel.body, h("p", { class: "hint" }, "Loading…"));
  const newest = [...(saved ?? [])].sort((a, b) => String(b.time).localeCompare(String(a.time)));
  const none = saved && !trouble.failed && !trouble.damaged;
  return redraw(panel.body, troubles(trouble, NAMES, refresh), newest.length ? h("ol", { class: "saved-list" }, newest.map(entry)) : none ? nothing() : null);
}

const nothing = () =>
  h("div", { class: "message small" }, icon("saved"), h("h3", {}, "No saved searches yet"),
    h("p", {}, "A saved search keeps its drawings, conditions and results, and can be replayed later to show whether the result is still the same."));

/** "2 drawings, before 24 Dec 2018, 3 further conditions; version 7" */
function about({ query_figures = 0, text = "", filter = {}, version }) {
  const { before, since, date_field, ...further } = filter;
  const conditions = Object.keys(further).length;
  const parts = [query_figures ? count(query_figures, "drawing") : "", text ? `“${text}”` : "", before ? `before ${day(before)}` : "", since ? `from ${day(since)}` : "",
    conditions ? count(conditions, "filter") : ""];
  return `${parts.filter(Boolean).join(", ")}; index version ${version}`;
}

function entry(each) {
  return h("li", {},
    h("div", { class: "saved-head" }, h("h4", {}, each.name || "Without a name"), h("span", { class: "quiet" }, moment(each.time))),
    h("p", { class: "quiet" }, about(each)),
    each.notes ? h("p", {}, each.notes) : null,
    h("div", { class: "buttons" },
      h("button", { type: "button", "data-key": `open-${each.id}`, onclick: () => open(each) }, "Open"),
      h("button", { type: "button", "data-key": `replay-${each.id}`, onclick: () => replay(each) }, icon("again"), "Replay"),
      exportMenu(() => ({ search: each.id })),
      iconButton("edit", "Name and notes", () => edit(each), { "data-key": `edit-${each.id}` }),
      iconButton("bin", "Delete", () => remove(each), { "data-key": `delete-${each.id}` })));
}

async function edit(each) {
  const given = await ask("Name and notes", { name: { label: "Name", value: each.name, required: true }, notes: { label: "Notes", value: each.notes, area: true } }, "Keep");
  if (given) await guarded(() => api.editSearch(each.id, given));
  await refresh();
}

async function remove(each) {
  if (!(await confirmed(`Delete “${each.name}”?`, "Its drawings, notes and recorded results are deleted. This cannot be undone.", "Delete"))) return;
  await guarded(async () => {
    await api.deleteSearch(each.id);
    if (current?.saved === each.id) current.saved = "";
  });
  await refresh();
}

// -- bringing a record back ----------------------------------------------------------------------------------------------

/** The state of the page that asks what a record asked; figures that the index no longer has are left out. */
async function stateOf(record) {
  const { request, images = [] } = record;
  const { filter = {}, variants = {}, query = [] } = request;
  const figures = await Promise.all(query.map((each) => each.figure && findFigure(each.figure)));
  const items = query.map((each, place) => {
    const shape = { box: each.box ?? null, rotate: each.rotate ?? 0, mirror: each.mirror ?? false };
    if (each.figure) return figures[place] && item({ figure: figures[place], name: altText(figures[place]), ...shape });
    const { name = "drawing", width, height } = images.find(({ upload, sha256 }) => (upload ?? sha256) === each.upload) ?? {};
    return item({ upload: each.upload, name, width, height, figures: [], ...shape });
  });
  return { ...fresh(), ...filter, query: items.filter(Boolean), text: request.text ?? "", rotations: variants.rotations ?? false, mirror: variants.mirror ?? false,
    fusion: request.fusion ?? "mean", group: request.group ?? "design" };
}

async function findFigure(figure_id) {
  const design = await api.design(figure_id).catch(() => null);
  return design?.figures.find((each) => each.figure_id === figure_id) ?? null;
}

async function open(each) {
  await guarded(async () => {
    change(await stateOf(await api.record(each.id)));
    panel.close();
    say(`“${each.name}” is opened; its results are those of today.`, { Replay: () => replay(each) });
  });
}

async function replay(each) {
  await guarded(async () => {
    const waiting = say(`Replaying “${each.name}”…`, {}, { stay: 0 });
    try {
      const [record, answer] = await Promise.all([api.record(each.id), api.replay(each.id)]);
      const wanted = await stateOf(record);
      panel.close();
      change(wanted, "push");
      const { response, ...replayed } = answer;
      showAnswer(response, record.request, wanted.query, { name: each.name, ...replayed });
    } finally {
      waiting.close();
    }
  });
}
