// A histogram of years: a bar begins the span that is searched.

import { h } from "./dom.js";
import { change, state } from "./state.js";
import { count } from "./words.js";

const MOST = 40; // bars; older years are taken together in the first one

/**
 * Bars of the years' counts, `{value: "2018", figures, designs}` each; `unit` is "designs" or "figures". Where they are not
 * `counted`, all bars are alike and tell no number.
 */
export function years(values, unit, counted) {
  const known = values.filter(({ value }) => value).map((each) => ({ year: Number(each.value), amount: each[unit] }));
  if (!known.length) return h("p", { class: "hint" }, "No figure has a date.");
  const last = Math.max(...known.map(({ year }) => year));
  const first = Math.max(last - MOST + 1, Math.min(...known.map(({ year }) => year)));
  const bars = Array.from({ length: last - first + 1 }, (_, place) => ({ year: first + place, amount: 0 }));
  for (const { year, amount } of known) bars[Math.max(0, year - first)].amount += amount;
  const highest = Math.max(1, ...bars.map(({ amount }) => amount));
  return h("div", {},
    h("div", { class: "years", role: "group", "aria-label": "Not before a year" }, bars.map(({ year, amount }) => bar(year, counted ? amount : null, highest, unit))),
    h("div", { class: "row years-scale", "aria-hidden": "true" }, h("span", {}, first), h("span", {}, last)));
}

function bar(year, amount, highest, unit) {
  const start = year * 10000 + 101;
  const on = state.since === start;
  const out = (state.since && start + 1130 < state.since) || (state.before && start >= state.before);
  const filled = h("span", {});
  const told = amount === null ? "" : count(amount, unit.slice(0, -1));
  filled.style.height = `${amount === null ? 12 : amount ? Math.max(4, (100 * amount) / highest) : 0}%`;
  return h("button", { type: "button", class: out ? "out" : null, "aria-pressed": String(on), "data-key": `year-${year}`,
    "aria-label": `From ${year}${told && `; ${told} in that year`}`, title: `${year}${told && `: ${told}`}`,
    onclick: () => change({ since: on ? 0 : start }) }, filled);
}
