// A field for a day. What is half typed, or no date, never counts, and what somebody types is never written over.

import { fill, h, later } from "./dom.js";
import { change, state, subscribe } from "./state.js";
import { FIRST_YEAR, fromInput, longDay, toInput } from "./words.js";

const PAUSE = 700; // milliseconds without a key before what was typed counts

/**
 * A field for the condition `name` of the search, and a line that tells what is wrong with what is in it.
 * `still(day)` says what holds meanwhile, in words: day is "6 May 2019", or "" where the condition is not set. `means` is
 * the id of a text that describes the field.
 */
export function dateField(name, still, means = "") {
  const problem = h("p", { class: "problem", id: `${name}-problem`, role: "status" });
  const field = h("input", { type: "date", id: name, "data-key": name, max: "9999-12-31", "aria-describedby": `${name}-problem ${means}`.trim() });
  let told = "";
  let shown = state[name]; // the condition that the field was last made to show
  let held = false; // a key is down: more may follow
  let noted = false; // the history has an entry for this stay in the field

  function tell(text) {
    if (text === told) return; // a button that is being pressed stays
    told = text;
    field.setAttribute("aria-invalid", String(Boolean(text)));
    const back = () => { write(); field.focus(); };
    fill(problem, text ? [`${text} ${still(state[name] ? longDay(state[name]) : "")} `,
      h("button", { type: "button", class: "link", onclick: back }, state[name] ? `Back to ${longDay(state[name])}` : "Empty the field")] : null);
  }

  function write() {
    soon.stop();
    shown = state[name];
    field.value = toInput(shown);
    tell("");
  }

  function take(day) {
    tell("");
    if (state[name] === day) return;
    shown = day;
    change({ [name]: day }, noted ? "replace" : "push");
    noted = true;
  }

  function check(leaving) {
    soon.stop();
    const day = fromInput(field.value);
    if (day) take(day);
    else if (field.value || field.validity.badInput) tell(field.value ? `The year must be ${FIRST_YEAR} or later.` : "This is not a date.");
    else if (leaving) take(0); // emptied on purpose
    else tell("");
  }
  const soon = later(() => check(false), PAUSE);

  field.addEventListener("input", () => (held ? soon() : check(false))); // a day of the calendar counts at once
  field.addEventListener("keydown", (event) => { held = true; if (event.key === "Enter") check(true); });
  field.addEventListener("keyup", () => { held = false; soon(); }); // no event tells of a part that leaves it without a date
  field.addEventListener("blur", () => { held = noted = false; check(true); });
  subscribe(() => { if (state[name] !== shown) { noted = false; write(); } });
  return { field, problem };
}
