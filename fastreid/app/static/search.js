// Running the search: one at a time, the newest wins; patience with a busy service; lost uploads are sent again.

import { api, patient } from "./api.js";
import { later } from "./dom.js";
import { change, filterJson, hasQuery, PAGE, requestJson, state } from "./state.js";
import { missing, sendAgain } from "./uploads.js";

let running = null;
let show = () => {};
let kind = "none";

/**
 * What is shown, or null: `{response, request, filter, items, replay, saved}`; `items` are the query figures of the page, `saved` is
 * the id under which it was saved, or "".
 */
export let current = null;

/**
 * `listener(kind, detail)` shows how the search stands: "none", "waiting", "busy" (detail: milliseconds until it is
 * asked again), "results" (detail: as `current`) or "failed" (detail: the error).
 */
export function onSearch(listener) {
  show = listener;
}

function tell(what, detail) {
  kind = what;
  show(what, detail);
}

export const failedNow = () => kind === "failed";

/** Whether what is shown belongs to an earlier search than the conditions that are set: the newer one failed. */
export const outdated = () => failedNow() && current !== null;

// the service is at fault, or the way to it: what it answered before still holds
const passing = ({ status }) => status === 0 || status >= 500;

export async function search() {
  running?.abort();
  const mine = (running = new AbortController());
  if (!hasQuery()) {
    current = null;
    return tell("none");
  }
  const request = requestJson();
  const filter = filterJson();
  const items = state.query;
  tell("waiting");
  try {
    const response = await patient(() => ask(request, mine.signal), { signal: mine.signal, waiting: (wait) => tell("busy", wait) });
    if (mine !== running) return;
    if (!response.results.length && response.total && state.page) return change({ page: Math.ceil(response.total / PAGE) - 1 }, "replace");
    current = { response, request, filter, items, replay: null, saved: "" };
    tell("results", current);
  } catch (error) {
    if (mine !== running || error.name === "AbortError") return;
    if (!passing(error)) current = null;
    tell("failed", error);
  }
}

const soon = later(search, 60);

/** Search once the changes that come together are through. */
export function searchSoon() {
  if (hasQuery()) tell("waiting");
  soon();
}

async function ask(request, signal) {
  try {
    return await api.search(request, signal);
  } catch (error) {
    if (error.status !== 410) throw error;
    const uploads = [...new Set(request.query.map((each) => each.upload).filter(Boolean))];
    const there = await Promise.all(uploads.map(async (upload) => (await api.has(upload)) || sendAgain({ upload })));
    const gone = uploads.filter((_, place) => !there[place]);
    missing(gone);
    if (gone.length) throw error;
    return api.search(request, signal);
  }
}

/** Show an answer that was not asked for here: the replay of a saved search, whose query figures are `items`. */
export function showAnswer(response, request, items, replay) {
  soon.stop();
  running?.abort();
  running = null;
  current = { response, request, filter: request.filter ?? {}, items, replay, saved: "" };
  tell("results", current);
}
