// A result beside the query: zoomed and moved together, through all views, with the parts that match.

import { api } from "./api.js";
import { figureImg, matchedBy, partsOf, variantWords, viewsOf } from "./card.js";
import { choice, fill, h, icon, iconButton, redraw } from "./dom.js";
import { moreLike } from "./known.js";
import { isMarked, mark, noteOn, onSets } from "./marks.js";
import { Panel, say } from "./panels.js";
import { figureCanvas, FULL, prepared, showThumb, trimmed } from "./pictures.js";
import { hasPage, turnPage } from "./results.js";
import { current, failedNow } from "./search.js";
import { modelOf, indexOf } from "./status.js";
import { enter, leave } from "./steps.js";
import { altText, className, day, figureName, letter, number, patentName, score } from "./words.js";
import { Zoom } from "./zoom.js";

let place = 0; // of the result on its page
let views = []; // of the result: {figure, score, query, variant}
let view = 0;
let queryPlace = 0;
let mode = "beside";
let asking = null; // for the picture of matching parts
let turning = false; // a page, over the edge of this one
let waiting = 0; // of which result all views are asked for

const zoom = new Zoom({ swiped: (by) => step(by), changed: (scale) => (level.textContent = `${Math.round(scale * 100)} %`) });
const level = h("span", { class: "zoom-level", "aria-live": "off" }, "100 %");
const panes = h("div", { class: "panes" });
const facts = h("dl", { class: "title-block" });
const panel = new Panel("full", "Compare", { onclose: closed });
panel.element.classList.add("compare");
fill(panel.body, panes, facts);

const result = () => current.response.results[place];
const shown = () => views[view];
const items = () => current.items ?? [];
const queryItem = () => items()[queryPlace];

/** Open a result of the page, at one of its figures. */
export function openCompare(at, row) {
  mode = "beside";
  show(at, row);
  panel.show();
  drawPanes();
  enter(() => panel.close());
}

function show(at, row) {
  place = at;
  views = viewsOf(result());
  view = Math.max(0, views.findIndex((each) => each.figure.row === row));
  followQuery();
  zoom.reset();
  draw();
  completeViews();
}

/** Beside a figure stands the query figure that it matches best. */
function followQuery() {
  const { query } = shown();
  if (query >= 0 && items()[query]) queryPlace = query;
  else if (!items()[queryPlace]) queryPlace = 0;
}

/** The answer of a search names some figures of a design; the rest is looked up. */
async function completeViews() {
  const mine = ++waiting;
  const { patent } = shown().figure;
  const design = await api.design(patent).catch(() => null);
  if (mine !== waiting || !design) return;
  const missing = design.figures.filter((each) => !views.some(({ figure }) => figure.row === each.row));
  if (!missing.length) return;
  views = [...views, ...missing.map((figure) => ({ figure }))];
  draw();
}

/** Go to the next result (1) or the one before (-1), over the edge of the page too. */
export async function step(by) {
  const next = place + by;
  if (next >= 0 && next < current.response.results.length) return show(next);
  if (turning || !hasPage(by)) return undefined;
  turning = true;
  const before = current;
  await leave(); // the history has the pages of results in their order, and this dialog over the last one
  if (panel.open) {
    turnPage(by);
    enter(() => panel.close());
  }
  for (let tries = 0; tries < 100 && panel.open && current === before && !failedNow(); tries++) await new Promise((resolve) => setTimeout(resolve, 50));
  turning = false;
  if (panel.open && failedNow()) return say("The next page of results cannot be had just now.");
  return current && current !== before && panel.open ? show(by > 0 ? 0 : current.response.results.length - 1) : undefined;
}

const stepView = (by) => { view = (view + by + views.length) % views.length; followQuery(); draw(); };
const stepQuery = () => { if (items().length) { queryPlace = (queryPlace + 1) % items().length; draw(); } };

function draw() {
  drawHead();
  drawFacts();
  if (panel.open) drawPanes();
}

function drawHead() {
  const { figure } = shown();
  const { results, offset } = current.response;
  panel.title.textContent = figure.title || patentName(figure.patent);
  const marked = isMarked(figure.figure_id);
  const canMatch = modelOf()?.patches && items().length;
  redraw(panel.actions,
    h("div", { class: "group nav" },
      h("span", { class: "place" }, `${number(offset + place + 1)} of ${number(current.response.total)}`),
      iconButton("left", "Previous result (←)", () => step(-1), { "data-key": "previous", disabled: offset + place === 0 }),
      iconButton("right", "Next result (→)", () => step(1), { "data-key": "next", disabled: place === results.length - 1 && offset + place + 1 >= current.response.total }),
      h("span", { class: "gap" }),
      canMatch ? choice("What is shown", { beside: "Side by side", match: "Matching parts" }, mode, setMode) : null,
      h("span", { class: "gap" }),
      iconButton("zoomOut", "Zoom out (−)", () => zoom.by(1 / 1.5), { "data-key": "out" }), level,
      iconButton("zoomIn", "Zoom in (+)", () => zoom.by(1.5), { "data-key": "in" }),
      iconButton("fit", "Show all (0)", () => zoom.reset(), { "data-key": "fit" })),
    h("div", { class: "group acts" },
      h("button", { type: "button", class: "text-button mark-text", "data-key": "mark", "aria-pressed": String(marked), title: "Mark (M)", onclick: () => mark(figure) }, icon("mark"), marked ? "Marked" : "Mark"),
      marked ? iconButton("edit", "Note (N)", () => noteOn(figure), { "data-key": "note" }) : null,
      iconButton("like", "More like this (L)", like, { "data-key": "like" })));
}

async function like() {
  const { figure } = shown();
  const gone = leave();
  panel.close();
  await gone;
  moreLike(figure);
}

function setMode(to) {
  mode = to;
  zoom.reset();
  draw();
}

function drawFacts() {
  const { figure } = shown();
  const cell = (name, text, wide) => (text ? h("div", { class: wide ? "wide" : null }, h("dt", {}, name), h("dd", {}, text)) : null);
  fill(facts,
    cell("Patent", patentName(figure.patent)), cell("Published", figure.date && day(figure.date)), cell("Filed", figure.filed && day(figure.filed)),
    cell("Class", figure.locarno && [figure.locarno, className(figure.locarno)].filter(Boolean).join(" ")), cell("Applicant", figure.applicant),
    cell("Similarity", similarity()),
    cell("Caption", figure.caption, true));
}

/** How alike query and figure are, and next to it the number of the design, by which results are ranked: the card's. */
function similarity() {
  const { figure } = shown();
  const matches = result().evidence?.filter((each) => each.figure.row === figure.row) ?? [];
  const { score: value, query, variant } = matches.find((each) => each.query === queryPlace) ?? shown();
  const { metric } = indexOf();
  const { drawings, several } = partsOf(current.request);
  const whole = result().evidence ? score(result().score, metric) : "";
  const part = query >= drawings ? "the words" : `query ${letter(query)}`;
  const own = value === undefined ? "" : `${several ? `${part} with this figure ` : ""}${score(value, metric)}${variantWords(variant) ? `, ${variantWords(variant)}` : ""}`;
  if (!whole || (!several && value !== undefined && score(value, metric) === whole)) return own;
  const how = several ? (current.request.fusion === "max" ? ", the best of the query" : ", the mean over the query") : "";
  return [several || !own ? own : `this figure ${own}`, `design ${whole}${how}`].filter(Boolean).join(" · ");
}

// -- the two sheets ------------------------------------------------------------------------------------------------------

function pane(kind, heading, content, strip) {
  const viewport = h("div", { class: "viewport", tabindex: -1 }, content);
  return { viewport, content, element: h("section", { class: `pane ${kind}`, "aria-label": heading }, h("h3", {}, heading), viewport, strip) };
}

function drawPanes() {
  const { figure } = shown();
  const own = mode === "match" ? matchPane() : queryPane();
  const other = mode === "match" ? null : pane("result", `${figureName(figure)}`, sheet(altText(figure), figureCanvas(figure), "The image of this figure cannot be shown."), viewStrip());
  const all = [own, other].filter(Boolean);
  redraw(panes, all.map((each) => each.element), mode === "match" ? h("div", { class: "match-strips" }, queryStrip(), viewStrip()) : null);
  panes.classList.toggle("matching", mode === "match");
  zoom.keep([]);
  zoom.views.clear();
  for (const { viewport, content } of all) zoom.attach(viewport, content);
}

/** A drawing that fills its sheet, once its canvas has come. */
function sheet(name, coming, missing) {
  const holder = h("div", { class: "picture", role: "img", "aria-label": name });
  coming.then((canvas) => fill(holder, trimmed(canvas)), () => fill(holder, h("p", {}, missing)));
  return holder;
}

const GONE = "The drawing of this query is not at hand.";

function queryPane() {
  const item = queryItem();
  if (!item) return pane("query", "Query", h("div", { class: "picture" }, h("p", { class: "query-words" }, current.request.text ? `“${current.request.text}”` : GONE)), queryStrip());
  const variant = (shown().query === queryPlace && shown().variant) || "as given";
  const heading = ["Query", items().length > 1 ? letter(queryPlace) : "", variantWords(variant) && `(${variant})`].filter(Boolean).join(" ");
  return pane("query", heading, sheet(`Query figure ${letter(queryPlace)}: ${item.name}`, prepared(item, FULL, variant), GONE), queryStrip());
}

function queryStrip() {
  if (items().length < 2) return h("div", { class: "strip" });
  return h("div", { class: "strip", role: "group", "aria-label": "Query figures" }, items().map((item, at) => {
    const canvas = h("canvas", { "aria-hidden": "true" });
    showThumb(canvas, item, 52).catch(() => {});
    return h("button", { type: "button", class: "pick", "data-key": `query-${at}`, "aria-pressed": String(at === queryPlace), "aria-label": `Query figure ${letter(at)}`, onclick: () => { queryPlace = at; draw(); } }, canvas, h("span", { class: "letter" }, letter(at)));
  }));
}

function viewStrip() {
  return h("div", { class: "strip", role: "group", "aria-label": "Views of this design" }, views.map(({ figure, score: value }, at) => {
    const letters = matchedBy(result(), figure.row, partsOf(current.request));
    return h("button", { type: "button", class: `pick${value === undefined ? " rest" : ""}`, "data-key": `view-${at}`, "aria-pressed": String(at === view), title: `${figureName(figure)}${value === undefined ? "" : `, ${score(value, indexOf().metric)}`}`,
      "aria-label": altText(figure), onclick: () => { view = at; followQuery(); draw(); } }, figureImg(figure, 128, ""), letters ? h("span", { class: "letter" }, letters) : null);
  }));
}

function matchPane() {
  const holder = h("div", { class: "picture waiting" }, h("p", {}, "Looking for matching parts…"));
  const { figure, query, variant } = shown();
  asking?.abort();
  asking = new AbortController();
  const body = { query: current.request.query[queryPlace], row: figure.row, variant: (query === queryPlace && variant) || "as given" };
  api.explain(body, asking.signal).then((blob) => {
    const address = URL.createObjectURL(blob);
    const image = h("img", { src: address, draggable: "false", alt: `Parts of query figure ${letter(queryPlace)} joined with the parts of ${altText(figure)} that match them` });
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    holder.classList.remove("waiting");
    fill(holder, image);
  }, (error) => error.name !== "AbortError" && fill(holder, h("p", {}, error.message)));
  return pane("match", `Matching parts: query ${items().length > 1 ? letter(queryPlace) : ""} and ${figureName(figure).toLowerCase()}`, holder,
    h("p", { class: "hint" }, "The same number marks two parts that match; 1 is the best match."));
}

function closed() {
  leave();
  asking?.abort();
  const card = document.querySelector(`.card[data-place="${place}"] .sheet`);
  if (!card) return;
  for (const other of document.querySelectorAll(".card .sheet")) other.tabIndex = other === card ? 0 : -1;
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}

const KEYS = {
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => stepView(-1), ArrowDown: () => stepView(1),
  "+": () => zoom.by(1.5), "=": () => zoom.by(1.5), "-": () => zoom.by(1 / 1.5), 0: () => zoom.reset(),
  m: () => mark(shown().figure), n: () => noteOn(shown().figure), l: like, q: stepQuery, x: () => setMode(mode === "match" ? "beside" : "match"),
};

panel.element.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return;
  const pan = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
  if (event.shiftKey && pan) zoom.pan(...pan);
  else if (event.key === "x" && !(modelOf()?.patches && items().length)) return;
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
  event.stopPropagation();
});

onSets(() => panel.open && drawHead());
