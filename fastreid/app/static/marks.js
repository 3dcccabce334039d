// Marking figures into record sets. One set is the current one; "M" puts a figure into it.

import { api } from "./api.js";
import { draftOf, forgetNote, keepNote, onNotes, typed } from "./drafts.js";
import { ask, noteBox, say } from "./panels.js";
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
const itemOf = (set, figure_id) => set?.items.find((each) => each.figure_id === figure_id);
const setWith = (figure_id) => [currentSet(), ...sets].find((set) => itemOf(set, figure_id));
export const isMarked = (figure_id) => Boolean(setWith(figure_id));

/** The note on a figure as it was typed last. */
export const noteOf = (set, figure_id) => draftOf(set.id, figure_id) ?? itemOf(set, figure_id)?.note ?? "";

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

/** The current set, made where there is none. */
async function someSet() {
  if (!listed.known) await loadSets(); // no second set because the first one was not heard of
  if (!currentSet()) {
    const made = await api.newSet("Marked designs");
    await loadSets();
    chooseSet(made.id);
  }
  return currentSet();
}

/** Put a figure into the current set; a marked figure is taken out again. */
export async function mark(figure) {
  return guarded(async () => {
    const set = await someSet();
    if (itemOf(set, figure.figure_id)) {
      const note = noteOf(set, figure.figure_id);
      await unmark(set.id, figure.figure_id);
      return say(`Taken out of “${set.name}”.`, { Undo: () => put(set.id, figure, note) });
    }
    await put(set.id, figure, "");
    return say(`${patentName(figure.patent)} is in “${set.name}”.`, { "Add a note": () => noteOn(figure), Undo: () => unmark(set.id, figure.figure_id) });
  });
}

const send = (id, { figure_id }, note) => api.putItem(id, { figure_id, note, ...(current ? { search: current.response.search } : {}) });

export async function put(id, figure, note) {
  await guarded(() => send(id, figure, note));
  await loadSets();
}

export async function unmark(id, figure_id) {
  await forgetNote(id, figure_id);
  await guarded(() => api.dropItem(id, figure_id));
  await loadSets();
}

/** The set that a figure is marked in; an unmarked one is marked. Resolves to null where that fails, which is told. */
const markedIn = (figure) => guarded(async () => {
  if (!listed.known) await loadSets();
  const there = setWith(figure.figure_id);
  if (there) return there;
  const set = await someSet();
  sets = sets.map(replacing(await send(set.id, figure, "")));
  changed();
  return currentSet();
});

/** Open the note on a figure, which is marked where it was not; `text` was typed before and could not be kept. */
export function noteOn(figure, text = null) {
  const { figure_id } = figure;
  const before = setWith(figure_id);
  let set = before ?? null;
  let given = text; // null: nothing was typed
  const marking = before ? Promise.resolve(before) : markedIn(figure);
  marking.then((found) => { set = found; if (set && given !== null) typed(set.id, figure_id, given); });
  const old = before ? noteOf(before, figure_id) : "";
  noteBox(`Note on ${patentName(figure.patent)}`, `Why it matters, for “${(before ?? currentSet())?.name ?? "Marked designs"}”`, text ?? old, {
    oninput(value) {
      given = value;
      if (set) typed(set.id, figure_id, given);
    },
    async onclose(cancelled) {
      if (cancelled && given !== null) given = old;
      if (given === null) return;
      const into = set ?? (await marking);
      if (!into) return say("The figure is not marked and the note not kept.", { "Open it again": () => noteOn(figure, given) }, { stay: 0 });
      typed(into.id, figure_id, given);
      await keepNote(into.id, figure_id);
    },
  });
}

const replacing = (set) => (each) => (each.id === set.id ? set : each);

onNotes(
  (set) => (sets = sets.map(replacing(set))), // nothing is drawn again: somebody may be typing there
  ({ id, figure_id, text }, error) => say(`A note is not kept yet: “${text.slice(0, 40)}”. ${error.message}`, { "Try again": () => keepNote(id, figure_id) }, { stay: 0 }));
