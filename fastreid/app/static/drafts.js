// Notes as they are typed: kept after a pause, when their field is left, and when the page goes away.

import { api } from "./api.js";

const PAUSE = 800; // milliseconds without a key
const drafts = new Map(); // "set figure": {id, figure_id, text, sent, timer, busy}, until the service has taken the text
let taken = () => {};
let refused = () => {};

/** `accept(set)` is given a set with a note that was taken; `refuse(draft, error)` a note that was not: it stays a draft. */
export function onNotes(accept, refuse) {
  taken = accept;
  refused = refuse;
}

const nameOf = (id, figure_id) => `${id} ${figure_id}`;

/** What was typed and is not yet kept, else undefined. */
export const draftOf = (id, figure_id) => drafts.get(nameOf(id, figure_id))?.text;

/** The note on a figure of the set `id` is now `text`. */
export function typed(id, figure_id, text) {
  const name = nameOf(id, figure_id);
  const draft = drafts.get(name) ?? { id, figure_id, timer: 0, busy: null };
  drafts.set(name, Object.assign(draft, { text }));
  clearTimeout(draft.timer);
  draft.timer = setTimeout(() => keep(draft), PAUSE);
}

/** Keep a note now; resolves whether nothing of it is left to keep. */
export const keepNote = (id, figure_id) => keep(drafts.get(nameOf(id, figure_id)));

/** Keep all notes now. */
export const keepNotes = () => Promise.all([...drafts.values()].map(keep));

/** Let a note go whose figure leaves the set; resolves once no older text of it is on its way. */
export function forgetNote(id, figure_id) {
  const draft = drafts.get(nameOf(id, figure_id));
  drafts.delete(nameOf(id, figure_id));
  clearTimeout(draft?.timer);
  return Promise.resolve(draft?.busy);
}

function keep(draft) {
  if (!draft) return Promise.resolve(true);
  clearTimeout(draft.timer);
  draft.busy ??= send(draft).finally(() => (draft.busy = null));
  return draft.busy;
}

/** The texts of a note go one after the other: an older one never comes last. */
async function send(draft) {
  const name = nameOf(draft.id, draft.figure_id);
  while (drafts.get(name) === draft) {
    const text = (draft.sent = draft.text);
    try {
      const set = await api.putItem(draft.id, { figure_id: draft.figure_id, note: text });
      if (draft.text === text && drafts.get(name) === draft) drafts.delete(name);
      taken(set);
    } catch (error) {
      draft.sent = undefined;
      if (drafts.get(name) === draft) refused(draft, error);
      return false;
    }
  }
  return true;
}

addEventListener("pagehide", () => {
  for (const draft of drafts.values()) {
    if (draft.text !== draft.sent) api.putItem(draft.id, { figure_id: draft.figure_id, note: draft.text }).catch(() => {});
  }
});
// a phone may end a page that is out of sight without telling it
document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && keepNotes());
