// Starting from a design that is in the index already: by its number, or "more like this".

import { api, figureImage } from "./api.js";
import { fill, h } from "./dom.js";
import { say } from "./panels.js";
import { change, item, state } from "./state.js";
import { quiet, room } from "./uploads.js";
import { altText, count, figureName, patentName } from "./words.js";

const input = h("input", { type: "search", id: "known", placeholder: "US D0510000", autocomplete: "off", spellcheck: "false",
  enterkeyhint: "search", "aria-describedby": "known-answer" });
const answer = h("div", { id: "known-answer", "aria-live": "polite" });
export const known = h("form", { class: "known" },
  h("label", { for: "known" }, "Or start from a design in the index"),
  h("div", { class: "with-button" }, input, h("button", { type: "submit" }, "Find")),
  answer);

known.addEventListener("submit", (event) => {
  event.preventDefault();
  find(input.value.trim());
});
input.addEventListener("input", () => input.value.trim() || fill(answer));

/** What may be meant, likeliest first: a number of a patent in any spelling, else the name of a figure or patent as it is. */
function meanings(text) {
  const bare = text.replace(/[\s,./-]/g, "").toUpperCase();
  const given = [text, text.replace(/\s/g, "")];
  return [...new Set(/^[A-Z]{2}[A-Z]{0,2}\d+$/.test(bare) ? [bare, ...given] : [...given, bare])];
}

async function find(text) {
  if (!text) return;
  fill(answer, h("p", { class: "hint" }, "Looking…"));
  for (const patent of meanings(text)) {
    try {
      const design = await api.design(patent);
      if (design?.figures?.length) return offer(design, text);
    } catch (error) {
      if (error.status !== 404) return fill(answer, h("p", { class: "problem" }, error.message));
    }
  }
  fill(answer, h("p", { class: "problem" }, `No design or figure “${text}” in the index.`));
}

function offer({ patent, figures }, text) {
  const exact = figures.find((each) => each.figure_id === text.replace(/\s/g, ""));
  if (exact) {
    input.value = "";
    fill(answer);
    return addFigure(exact);
  }
  fill(answer,
    h("p", { class: "hint" }, `${patentName(patent)}, ${figures[0].title || "untitled"}: ${count(figures.length, "figure")}. Choose one or several.`),
    h("div", { class: "picks" }, figures.map((figure) =>
      h("button", { type: "button", class: "pick", "aria-label": `Add ${altText(figure)}`, title: figureName(figure), onclick: () => addFigure(figure) },
        h("img", { src: figureImage(figure.row, 128), alt: "", loading: "lazy" })))));
  answer.querySelector("button")?.focus();
}

/** Add a figure of the index to the query. */
function addFigure(figure) {
  if (state.query.some((each) => each.figure?.figure_id === figure.figure_id)) return say("This figure is in the query already.");
  if (room() <= 0) return say("The query is full; remove a figure first.");
  quiet();
  change({ query: [...state.query, item({ figure, name: altText(figure) })], selected: state.query.length });
}

/** Search for what is like a figure of the index; the conditions stay. */
export function moreLike(figure) {
  quiet();
  change({ query: [item({ figure, name: altText(figure) })], selected: 0, text: "" });
  say(`Searching for designs like ${altText(figure)}. Its own patent is left out.`, { "Go back": () => history.back() });
}

/** Look up figures that an address names: {patent, figure_id, box, rotate, mirror}. */
export async function lookUp(wanted) {
  const found = [];
  for (const each of wanted.slice(0, 8)) {
    const design = await api.design(each.patent).catch(() => null);
    const figure = design?.figures.find((one) => one.figure_id === each.figure_id);
    if (figure) found.push(item({ figure, name: altText(figure), box: each.box, rotate: each.rotate, mirror: each.mirror }));
  }
  if (found.length < wanted.length) say("A figure that this address names is not in the index any longer.");
  if (found.length) change({ query: [...state.query, ...found], page: state.page }, "replace");
}
