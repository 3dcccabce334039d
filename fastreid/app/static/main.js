// Puts the page together.

import { api } from "./api.js";
import { acceptDrops } from "./drop.js";
import { fill, h, icon, iconButton } from "./dom.js";
import { filterSection, filtered, refreshCounts } from "./filters.js";
import { listenToKeys, openHelp } from "./keys.js";
import { lookUp } from "./known.js";
import { enter } from "./login.js";
import { loadSets } from "./marks.js";
import { say } from "./panels.js";
import { buildQuery, drawCutOff, setText } from "./query.js";
import { buildResults, resultSection, scrollLater } from "./results.js";
import { openSaved } from "./saved.js";
import { failedNow, search, searchSoon } from "./search.js";
import { openSets, setsCount } from "./sets.js";
import { failedState } from "./standing.js";
import { hasQuery, restore, state, subscribe } from "./state.js";
import { showStatus, statusLine } from "./status.js";
import { setLimits } from "./uploads.js";
import { learnClasses } from "./words.js";

const SEARCHED = ["query", "text", "before", "since", "date_field", "locarno", "office", "view", "applicant", "not_patents", "title", "rotations", "mirror", "fusion", "group", "page"];
const panel = h("aside", { class: "query-panel", "aria-label": "Query" });

function header() {
  const button = (name, label, act, extra) => h("button", { type: "button", class: "head-button", "aria-label": label, title: label, onclick: act }, icon(name), h("span", {}, label), extra);
  return h("header", { class: "top" },
    h("a", { class: "skip", href: "#results", onclick: (event) => { event.preventDefault(); resultSection.focus(); } }, "Skip to the results"),
    h("h1", {}, h("img", { src: "/static/icon.svg", alt: "", width: 24, height: 24 }), "fastreid ", h("span", {}, "design search")),
    h("nav", { "aria-label": "Kept things" }, button("mark", "Record sets", openSets, setsCount), button("saved", "Saved searches", openSaved)),
    iconButton("theme", "Light or dark", switchTheme), iconButton("keys", "Keyboard (?)", openHelp, { class: "icon-button keys-button" }));
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // it holds until the page is left
  }
}

// on a small screen the filters fold away
function foldFilters() {
  const fold = h("button", { type: "button", class: "fold", "aria-expanded": "false", onclick: () => {
    const open = panel.classList.toggle("filters-open");
    fold.setAttribute("aria-expanded", String(open));
  } }, icon("filter"), "Filters", h("span", { class: "dot" }), icon("down"));
  subscribe(() => fold.classList.toggle("active", filtered()));
  return fold;
}

async function start() {
  let status = await api.status();
  if (!status.index) {
    await enter();
    status = await api.status();
  }
  showStatus(status);
  drawCutOff();
  setLimits(status.limits);
  setText(Boolean(status.model?.text));
  learnClasses(status.index.facets);
  document.body.classList.toggle("no-model", !status.model);
  subscribe((changed) => { if (SEARCHED.some((name) => changed.has(name))) searchSoon(); });
  addEventListener("popstate", takeOver);
  loadSets().catch(() => {}); // without them marks are not shown; opening the sets tells why
  await takeOver();
  refreshCounts();
  if (!hasQuery()) search();
}

async function takeOver() {
  const { figures, changed, refused } = restore();
  if (refused.length) say(`This address has something else than a date in ${refused.map((each) => `“${each}”`).join(" and ")}: the condition is not set.`, {}, { stay: 0 });
  if (changed) scrollLater(history.state?.scroll ?? null);
  if (figures.length) await lookUp(figures);
}

function build() {
  buildQuery(panel);
  panel.append(foldFilters(), filterSection);
  buildResults();
  document.body.prepend(header(), panel, resultSection, statusLine);
  document.getElementById("starting")?.remove();
  acceptDrops();
  listenToKeys();
  addEventListener("online", () => failedNow() && search());
  subscribe(() => document.body.classList.toggle("has-query", state.query.length > 0));
  history.scrollRestoration = "manual";
}

async function begin() {
  try {
    await start();
  } catch (error) {
    const box = failedState(error);
    box.querySelector(".primary").replaceWith(h("button", { type: "button", class: "primary", onclick: begin }, icon("again"), "Try again"));
    fill(resultSection.querySelector(".result-body"), box);
  }
}

build();
begin();
