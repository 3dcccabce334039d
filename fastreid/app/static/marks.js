// Marking figures into record sets. One set is the current one; "M" puts a figure into it.

import { api } from "./api.js";
import { ask, say } from "./panels.js";
import { patentName } from "./words.js";
import { current } from "./search.js";

const KEY = "current-set";
let sets = [];
let chosen = read();
/** How the list of sets came: `{known, damaged, failed}`; `failed` is what went wrong the last time, or "". */
export let listed = { known: false, damaged: 0, failed: "" };
const listeners = new Set();

function read() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function onSets(listener) {
  listeners.add(listener);
}

export const allSets = () => sets;
export const currentSet = () => sets.find((each) => each.id === chosen) ?? sets[0] ?? null;
export const isMarked = (figure_id) => sets.some((set) => set.items.some((each) => each.figure_id === figure_id));

export function chooseSet(id) {
  chosen = id;
  try {
    localStorage.setItem(KEY, id);
  } catch {
    // the choice holds until the page is left
  }
  changed();
}

function changed() {
  refreshMarks();
  for (const listener of listeners) listener();
}

/** Ask the service for the sets. */
export async function loadSets() {
  try {
    const { found, damaged } = await api.sets();
    sets = await Promise.all(found.map((each) => (Array.isArray(each.items) ? each : api.set(each.id))));
    listed = { known: true, damaged, failed: "" };
  } catch (error) {
    listed = { ...listed, failed: error.message };
    throw error;
  } finally {
    changed();
  }
}

/** Bring the buttons of all results up to date. */
export function refreshMarks() {
  for (const button of document.querySelectorAll(".mark-button[data-figure]")) {
    const on = isMarked(button.dataset.figure);
    button.setAttribute("aria-pressed", String(on));
    button.closest(".card")?.classList.toggle("marked", on);
  }
}

export async function newSet(suggested = "") {
  const given = await ask("New record set", { name: { label: "Name", value: suggested, required: true } }, "Create");
  if (!given) return null;
  return guarded(async () => {
    const made = await api.newSet(given.name);
    await loadSets();
    chooseSet(made.id);
    return made;
  });
}

/** Run something that changes a set; what goes wrong is told. Resolves to its value, or null. */
export async function guarded(run) {
  try {
    return await run();
  } catch (error) {
    say(error.message);
    return null;
  }
}

/** Put a figure into the current set, making one where there is none; a marked figure is taken out again. */
export async function mark(figure, note = "") {
  return guarded(async () => {
    if (!listed.known) await loadSets(); // no second set because the first one was not heard of
    let set = currentSet();
    if (!set) {
      set = await api.newSet("Marked designs");
      await loadSets();
      chooseSet(set.id);
    }
    const there = currentSet().items.find((each) => each.figure_id === figure.figure_id);
    if (there) {
      await unmark(set.id, figure.figure_id);
      return say(`Taken out of “${set.name}”.`, { Undo: () => put(set.id, figure, there.note) });
    }
    await put(set.id, figure, note);
    return say(`${patentName(figure.patent)} is in “${set.name}”.`, { "Add a note": () => noteFor(set.id, figure), Undo: () => unmark(set.id, figure.figure_id) });
  });
}

export async function put(id, figure, note) {
  await guarded(() => api.putItem(id, { figure_id: figure.figure_id, note, ...(current ? { search: current.response.search } : {}) }));
  await loadSets();
}

export async function unmark(id, figure_id) {
  await guarded(() => api.dropItem(id, figure_id));
  await loadSets();
}

export async function noteFor(id, figure) {
  const set = sets.find((each) => each.id === id);
  const there = set?.items.find((each) => each.figure_id === figure.figure_id);
  const given = await ask(`Note on ${patentName(figure.patent)}`, { note: { label: `Why it matters, for “${set?.name}”`, value: there?.note ?? "", area: true } }, "Keep");
  if (given) await put(id, figure, given.note);
}
