// The keyboard outside of dialogs and fields, and the page that tells of it.

import { fill, h } from "./dom.js";
import { moreLike } from "./known.js";
import { mark } from "./marks.js";
import { Panel } from "./panels.js";
import { chooseFile, firstField } from "./query.js";
import { resultSection, turnPage } from "./results.js";
import { saveCurrent } from "./saved.js";
import { current } from "./search.js";
import { openSaved } from "./saved.js";
import { openSets } from "./sets.js";
import { change, state } from "./state.js";

const HELP = {
  "Anywhere": [["/", "to the search field"], ["U", "choose a drawing"], ["Ctrl V", "paste a drawing"], ["D", "to the cut-off date"], ["R", "to the results"], ["P  N", "previous, next page"], ["G", "group by designs or figures"], ["S", "save this search"], ["B", "record sets"], ["O", "saved searches"], ["Esc", "out of a field"], ["?", "this help"]],
  "On a result": [["← ↑ → ↓", "another result"], ["Enter", "compare with the query"], ["M", "mark, or take the mark away"], ["L", "more like this"]],
  "While comparing": [["← →", "previous, next result"], ["↑ ↓", "other views of the design"], ["Q", "next query figure"], ["+ − 0", "zoom, show all"], ["Shift ← ↑ → ↓", "move the picture"], ["X", "matching parts"], ["M  N  L", "mark, mark with a note, more like this"], ["Esc", "back to the results"]],
  "In a note": [["Esc", "close and keep it, as Ctrl Enter does"]],
  "In the crop box": [["← ↑ → ↓", "move it"], ["Shift ← ↑ → ↓", "size it"], ["Alt", "with these: fine steps"], ["Delete", "whole image again"]],
};
let help = null;

export function openHelp() {
  help ??= new Panel("box", "Keyboard");
  help.element.classList.add("help");
  fill(help.body, Object.entries(HELP).map(([where, rows]) => h("section", {}, h("h3", {}, where),
    h("dl", {}, rows.map(([keys, what]) => h("div", {}, h("dt", {}, keys.split(" ").filter(Boolean).map((key) => h("kbd", {}, key))), h("dd", {}, what)))))));
  help.show();
}

const sheets = () => [...resultSection.querySelectorAll(".card .sheet")];

/** The result that the keyboard is on, or the pointer over. */
function atHand() {
  const card = document.activeElement?.closest?.(".card") ?? resultSection.querySelector(".card:hover");
  return card && current ? current.response.results[Number(card.dataset.place)]?.figure : null;
}

/** Move the keyboard's place among the results; up and down go by rows as they are laid out. */
function walk(key) {
  const all = sheets();
  const at = all.indexOf(document.activeElement?.closest(".card")?.querySelector(".sheet"));
  if (at < 0) return false;
  const top = (element) => Math.round(element.getBoundingClientRect().top);
  const columns = all.findIndex((each) => top(each) !== top(all[0]));
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -(columns < 0 ? all.length : columns), ArrowDown: columns < 0 ? all.length : columns }[key];
  const next = all[at + by];
  if (!next) return true;
  for (const each of all) each.tabIndex = each === next ? 0 : -1;
  next.focus({ preventScroll: true });
  next.closest(".card").scrollIntoView({ block: "nearest" });
  return true;
}

function toResults() {
  const first = sheets().find((each) => each.tabIndex === 0) ?? resultSection;
  first.focus();
}

const onResult = (act) => () => { const figure = atHand(); if (figure) act(figure); };
const KEYS = {
  "/": () => firstField().focus(), u: chooseFile, d: () => document.getElementById("before").focus(), r: toResults, "?": openHelp,
  p: () => turnPage(-1), n: () => turnPage(1), s: saveCurrent, b: openSets, o: openSaved,
  g: () => change({ group: state.group === "design" ? "figure" : "design" }), m: onResult(mark), l: onResult(moreLike),
};

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape" && typing) return resultSection.focus(); // a date's parts would not let go by blur()
    if (event.ctrlKey || event.metaKey || event.altKey || typing || document.querySelector("dialog[open]")) return undefined;
    if (event.key.startsWith("Arrow") ? !walk(event.key) : !KEYS[event.key]) return undefined;
    event.preventDefault();
    KEYS[event.key]?.();
    return undefined;
  });
}
