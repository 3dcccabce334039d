// The right side: what was searched, the results, pages.

import { card, partsOf } from "./card.js";
import { openCompare } from "./compare.js";
import { choice, fill, h, icon } from "./dom.js";
import { exportMenu } from "./exports.js";
import { refreshUnknown } from "./filters.js";
import { refreshMarks } from "./marks.js";
import { saveCurrent } from "./saved.js";
import { current, onSearch, outdated } from "./search.js";
import { change, PAGE, rememberScroll, state } from "./state.js";
import { conditionChips, emptyState, failedState, nothingState, outdatedBanner, replayBanner, skeletons, unknownBanner } from "./standing.js";
import { indexOf } from "./status.js";
import { count, number, searched } from "./words.js";

const summary = h("p", { class: "summary", role: "status", "aria-live": "polite" });
const tools = h("div", { class: "result-tools" });
const chips = h("div", { class: "condition-chips" });
const banner = h("div", {});
const body = h("div", { class: "result-body" });
const pager = h("nav", { class: "pager", "aria-label": "Pages of results", hidden: true });
let slow = 0;
let goTo = null; // where to go once results are there

export const resultSection = h("main", { id: "results", tabindex: -1, "aria-label": "Results" },
  h("div", { class: "result-head" }, summary, tools), chips, banner, body, pager);

/** Go on reading where the entry of the history was left. */
export function scrollLater(place) {
  goTo = place;
}

function drawHead(on) {
  fill(chips, on ? conditionChips() : null);
  fill(tools, on ? [
    choice("Group results by", { design: "Designs", figure: "Figures" }, state.group, (group) => change({ group })),
    h("button", { type: "button", class: "text-button", id: "save-search", title: "Save this search (S)", onclick: saveCurrent }, icon("save"), "Save"),
    exportMenu(() => ({ search: current.saved || current.response.search }))] : []);
}

function waiting() {
  clearTimeout(slow);
  body.setAttribute("aria-busy", "true");
  resultSection.classList.add("waiting");
  // quick answers come without a flicker
  slow = setTimeout(() => {
    summary.textContent = "Searching…";
    if (!body.querySelector(".card")) fill(body, skeletons());
  }, 180);
}

function drawBusy(wait) {
  clearTimeout(slow);
  summary.textContent = `The service is busy; asking again in ${Math.round(wait / 1000)} s.`;
  if (!body.querySelector(".card")) fill(body, skeletons());
}

function settled() {
  clearTimeout(slow);
  body.removeAttribute("aria-busy");
  resultSection.classList.remove("waiting");
}

function drawResults({ response, filter, request, replay }) {
  const index = indexOf();
  const exactly = response.exact ? "exactly" : "approximately";
  summary.textContent = `${searched(response, filter)}, ${exactly}, in ${response.seconds.toFixed(2)} s.`;
  drawHead(true);
  fill(banner, replay ? replayBanner(replay) : unknownBanner(response.unknown_patents));
  const context = { metric: index.metric, parts: partsOf(request), filed: filter.date_field === "filed", open: openCompare };
  fill(body, response.results.length
    ? h("ol", { class: "grid", start: response.offset + 1 }, response.results.map((each, place) => card(each, place, context)))
    : nothingState(response));
  refreshMarks();
  drawPager(response, replay);
  if (goTo !== null) scroller().scrollTo({ top: goTo });
  goTo = null;
}

function drawPager({ total, offset, results }, replay) {
  pager.hidden = Boolean(replay) || total <= PAGE;
  if (pager.hidden) return;
  const last = Math.ceil(total / PAGE) - 1;
  fill(pager,
    h("button", { type: "button", disabled: state.page === 0, onclick: () => turnPage(-1) }, icon("left"), "Previous"),
    h("span", {}, `${number(offset + 1)} – ${number(offset + results.length)} of ${number(total)}`),
    h("button", { type: "button", disabled: state.page >= last, onclick: () => turnPage(1) }, "Next", icon("right")));
}

/** Whether there is a next (1) or an earlier (-1) page of results. */
export function hasPage(by) {
  const page = state.page + by;
  return Boolean(current) && !outdated() && !current.replay && page >= 0 && page * PAGE < current.response.total;
}

/** Show another page of results, where there is one. */
export function turnPage(by) {
  if (!hasPage(by)) return;
  rememberScroll(scroller().scrollTop);
  goTo = matchMedia("(max-width: 860px)").matches ? resultSection.offsetTop - 60 : 0;
  change({ page: state.page + by });
}

// on a small screen the page scrolls, on a large one the results do
const scroller = () => (resultSection.scrollHeight > resultSection.clientHeight + 1 ? resultSection : document.scrollingElement);

export function buildResults() {
  const drawJump = buildJump();
  onSearch((kind, detail) => {
    document.body.dataset.search = kind;
    drawJump();
    if (kind === "waiting") return waiting();
    if (kind === "busy") return drawBusy(detail);
    settled();
    resultSection.classList.toggle("outdated", outdated());
    if (kind === "results") {
      refreshUnknown();
      return drawResults(detail);
    }
    pager.hidden = true;
    drawHead(false);
    if (kind === "none") fill(chips, conditionChips());
    summary.textContent = kind === "none" ? "" : "The search did not succeed.";
    // the list that somebody reads stays
    fill(banner, outdated() ? outdatedBanner(detail, current) : null);
    if (!outdated()) fill(body, kind === "none" ? emptyState() : failedState(detail));
    return undefined;
  });
  document.addEventListener("scroll", keepScroll, { capture: true, passive: true });
}

/** On a small screen, where results lie below the query: a button that goes there, and one back. */
function buildJump() {
  const words = h("span", {});
  const jump = h("button", { type: "button", class: "jump", hidden: true, onclick: () => {
    const up = jump.classList.contains("up");
    scrollTo({ top: up ? 0 : resultSection.offsetTop - 52, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  } }, icon("down"), words);
  document.body.append(jump);
  const draw = () => {
    const up = scrollY + innerHeight / 2 > resultSection.offsetTop;
    jump.hidden = !current || (up && scrollY < 80);
    jump.classList.toggle("up", up);
    jump.setAttribute("aria-label", up ? "To the query" : "To the results");
    words.textContent = current ? count(current.response.total, current.response.group) : "";
  };
  document.addEventListener("scroll", draw, { passive: true });
  return draw;
}

let kept = 0;
function keepScroll(event) {
  if (event.target !== resultSection && event.target !== document) return;
  clearTimeout(kept);
  kept = setTimeout(() => rememberScroll(scroller().scrollTop), 250);
}
