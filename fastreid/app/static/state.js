// The search as it stands: query figures, conditions, page. Everything that shows it listens here.

import { decode, encode } from "./hash.js";

/** A search without any condition. */
export const fresh = () => ({
  query: [], // {id, upload | figure, name, width, height, figures, region, box, rotate, mirror}
  text: "",
  before: 0,
  since: 0,
  date_field: "date",
  locarno: [],
  office: [],
  view: [],
  applicant: [],
  not_patents: [],
  title: "",
  rotations: false,
  mirror: false,
  fusion: "mean",
  group: "design",
  page: 0,
});

export const PAGE = 24;
const FILTER = ["before", "since", "date_field", "locarno", "office", "view", "applicant", "not_patents", "title"];

export const state = { ...fresh(), selected: 0 };
const listeners = new Set();
let next = 1;

/** `listener(changed)` is called after each change with the names of what changed, a Set. */
export function subscribe(listener) {
  listeners.add(listener);
}

/**
 * Change the search. The browser's history gets a new entry ("push"), its entry is brought up to date ("replace": for
 * what changes while somebody types or drags), or is left alone ("none": for what is no part of the search).
 */
export function change(patch, history = "push") {
  const changed = new Set(Object.keys(patch).filter((name) => JSON.stringify(patch[name]) !== JSON.stringify(state[name])));
  if (!changed.size) return;
  if (history !== "none" && !changed.has("page")) patch = { ...patch, page: 0 };
  Object.assign(state, patch);
  state.selected = Math.max(0, Math.min(state.selected, state.query.length - 1));
  if (history !== "none") remember(history);
  for (const listener of listeners) listener(changed);
}

/** Nothing has changed, but what shows and what uses `name` is to do so once more. */
export function again(name) {
  for (const listener of listeners) listener(new Set([name]));
}

/** A query figure with the settings that every new one has. */
export const item = (given) => ({ id: next++, region: null, box: null, rotate: 0, mirror: false, ...given });

/** Change one query figure. */
export function changeItem(id, patch, history = "replace") {
  change({ query: state.query.map((each) => (each.id === id ? { ...each, ...patch } : each)) }, history);
}

/** The conditions that are set, as the service takes them. */
export function filterJson(given = state) {
  const empty = fresh();
  const filter = {};
  for (const name of FILTER) {
    if (JSON.stringify(given[name]) !== JSON.stringify(empty[name])) filter[name] = given[name];
  }
  if (!filter.before && !filter.since) delete filter.date_field;
  return filter;
}

/** A query figure as the service takes it. */
function itemJson({ upload, figure, box, rotate, mirror }) {
  return { ...(upload ? { upload } : { figure: figure.figure_id }), box, rotate, mirror };
}

/** The body of a search. */
export function requestJson() {
  const { query, text, rotations, mirror, fusion, group, page } = state;
  return {
    query: query.map(itemJson), text: text.trim(), variants: { rotations, mirror }, fusion, group,
    filter: filterJson(), exclude_own: true, offset: page * PAGE, limit: PAGE, version: null,
  };
}

export const hasQuery = () => state.query.length > 0 || state.text.trim() !== "";

// -- the browser's history: the address holds all but uploads, the entry of this tab holds these too --------------------

function snapshot() {
  const { selected, ...search } = state;
  return search;
}

function remember(how) {
  const address = encode(state) || " ";
  const url = address === " " ? location.pathname : `#${address}`;
  history[how === "replace" ? "replaceState" : "pushState"]({ search: snapshot(), scroll: 0 }, "", url);
}

/** Keep how far the reader has scrolled in the entry that is being left or shown. */
export function rememberScroll(scroll) {
  history.replaceState({ ...(history.state ?? { search: snapshot() }), scroll }, "");
}

/**
 * Take over the search of the current entry, or of the address where the entry is new. Returns {figures, changed,
 * refused}: those to look up, whether the search is another one now, and what of the address cannot be read.
 */
export function restore() {
  const kept = history.state?.search;
  const { search, figures, refused } = kept ? { search: kept, figures: [], refused: [] } : decode(location.hash.slice(1));
  next = Math.max(next, ...(search.query ?? []).map((each) => each.id + 1));
  const before = JSON.stringify(snapshot());
  Object.assign(state, fresh(), search, { selected: 0 });
  const changed = before !== JSON.stringify(snapshot()) || figures.length > 0;
  if (changed) for (const listener of listeners) listener(new Set(Object.keys(fresh())));
  if (refused.length && !figures.length) remember("replace"); // the address says what is searched for
  return { figures, changed, refused };
}
