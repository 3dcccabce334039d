// The drawer of record sets: choose, read, note, remove, export.

import { figureImg } from "./card.js";
import { h, icon, iconButton, redraw } from "./dom.js";
import { api } from "./api.js";
import { keepNote, keepNotes, typed } from "./drafts.js";
import { exportMenu } from "./exports.js";
import { moreLike } from "./known.js";
import { allSets, chooseSet, currentSet, guarded, listed, loadSets, newSet, noteOf, onSets, put, unmark } from "./marks.js";
import { ask, confirmed, onCtrlEnter, Panel, say, troubles } from "./panels.js";
import { altText, count, day, figureName, number, patentName } from "./words.js";

const NAMES = ["record set", "record sets", "sets"];
const panel = new Panel("drawer", "Record sets", { onclose: keepNotes });
export const setsCount = h("span", { class: "badge", hidden: true });

export async function openSets() {
  panel.show();
  draw();
  await loadSets().catch(() => {}); // told in the drawer
}

function draw() {
  const sets = allSets();
  const marked = sets.reduce((sum, set) => sum + set.items.length, 0);
  setsCount.hidden = !marked;
  setsCount.textContent = String(marked);
  setsCount.closest("button")?.setAttribute("aria-label", marked ? `Record sets, ${number(marked)} marked` : "Record sets");
  if (!panel.open) return;
  const chosen = currentSet();
  redraw(panel.actions, h("button", { type: "button", class: "text-button", "data-key": "new", onclick: () => newSet() }, icon("plus"), "New set"));
  const { known, failed, damaged } = listed;
  redraw(panel.body, troubles(listed, NAMES, openSets),
    chosen ? [setChooser(sets, chosen), setHead(chosen), items(chosen)] : !known && !failed ? h("p", { class: "hint" }, "Loading…") : !failed && !damaged ? nothing() : null);
}

const nothing = () =>
  h("div", { class: "message small" }, icon("mark"), h("h3", {}, "Nothing marked yet"),
    h("p", {}, "Press M on a result, or its bookmark, to put it into a record set with a note of your own."),
    h("button", { type: "button", class: "primary", onclick: () => newSet() }, "Make a set"));

const setChooser = (sets, chosen) =>
  h("div", { class: "set-list", role: "group", "aria-label": "New marks go into" }, sets.map((set) =>
    h("button", { type: "button", "data-key": `set-${set.id}`, "aria-pressed": String(set === chosen), onclick: () => chooseSet(set.id) }, h("span", {}, set.name), h("span", { class: "amount" }, set.items.length))));

function setHead(set) {
  return h("div", { class: "set-head" }, h("h3", {}, set.name), h("span", { class: "quiet" }, count(set.items.length, "figure")),
    h("div", { class: "buttons" },
      set.items.length ? exportMenu(() => ({ set: set.id })) : null,
      iconButton("edit", "Rename this set", () => rename(set), { "data-key": "rename" }),
      iconButton("bin", "Delete this set", () => remove(set), { "data-key": "delete" })));
}

async function rename(set) {
  const given = await ask("Rename the set", { name: { label: "Name", value: set.name, required: true }, notes: { label: "Notes on the set", value: set.notes, area: true } }, "Keep");
  if (given) await guarded(async () => { await api.editSet(set.id, given); await loadSets(); });
}

async function remove(set) {
  const sure = !set.items.length || await confirmed(`Delete “${set.name}”?`, `It holds ${count(set.items.length, "figure")} with their notes. This cannot be undone.`, "Delete");
  if (sure) await guarded(async () => { await api.deleteSet(set.id); await loadSets(); });
}

const items = (set) =>
  h("div", {}, set.notes ? h("p", { class: "set-notes" }, set.notes) : null,
    set.items.length ? h("ol", { class: "set-items" }, set.items.map((each) => item(set, each)))
      : h("p", { class: "hint" }, "This set is empty. Press M on a result to mark it."));

function item(set, { figure_id, patent, figure }) {
  const keep = () => keepNote(set.id, figure_id);
  const area = h("textarea", { rows: 2, maxlength: 4000, placeholder: "Note", "aria-label": `Note on ${figure ? altText(figure) : figure_id}`, "data-key": `note-${figure_id}`, oninput: () => typed(set.id, figure_id, area.value), onchange: keep, onkeydown: onCtrlEnter(keep) });
  area.value = noteOf(set, figure_id);
  return h("li", {},
    figure ? h("button", { type: "button", class: "pick", "aria-label": `More like ${altText(figure)}`, title: "More like this", onclick: () => { panel.close(); moreLike(figure); } }, figureImg(figure, 128, ""))
      : h("span", { class: "pick no-image" }, "Gone"),
    h("div", {}, h("strong", {}, figure?.title || patentName(patent)),
      h("span", { class: "quiet" }, figure ? `${patentName(patent)} · ${figureName(figure)} · ${day(figure.date)}` : `${figure_id} is not in the index any longer`), area),
    iconButton("close", `Take ${patentName(patent)} out of the set`, () => drop(set, figure_id, patent, figure)));
}

async function drop({ id }, figure_id, patent, figure) {
  const note = noteOf(allSets().find((each) => each.id === id), figure_id);
  await unmark(id, figure_id);
  say(`${patentName(patent)} was taken out.`, figure ? { Undo: () => put(id, figure, note) } : {});
}

onSets(draw);
