// One result: a sheet with its drawing and below it a title block, as on a technical drawing.

import { figureImage } from "./api.js";
import { h, icon, iconButton } from "./dom.js";
import { moreLike } from "./known.js";
import { isMarked, mark } from "./marks.js";
import { LISTED } from "./pictures.js";
import { altText, className, day, figureName, letter, patentName, score } from "./words.js";

const VIEWS = 5; // small sheets below a result

/** An image of a figure; a missing file leaves a note in its place. */
export function figureImg(figure, side, alt = altText(figure), more = {}) {
  const image = h("img", { src: figureImage(figure.row, side), alt, loading: "lazy", decoding: "async", draggable: "false", ...more });
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "no-image" }, "Image missing")), { once: true });
  return image;
}

/** All views that a result of a search names, best first: [{figure, score, query, variant}], each figure once. */
export function viewsOf(result) {
  if (!result.evidence) return [{ figure: result.figure, score: result.score, query: result.query, variant: result.variant }];
  const first = result.evidence.filter((each) => each.figure.row === result.figure.row);
  const all = [...first, ...result.evidence, ...result.others];
  return all.filter((each, place) => all.findIndex((other) => other.figure.row === each.figure.row) === place);
}

/** Parts of the query whose best match a figure is, "AC" or "words"; "" where the query has one part only. */
export function matchedBy(result, row, { drawings, several }) {
  if (!several) return "";
  const found = result.evidence ?? [{ query: result.query, figure: result.figure }];
  const parts = found.filter((each) => each.figure.row === row).map((each) => each.query);
  const letters = parts.filter((each) => each < drawings).map(letter).join("");
  return [letters, parts.some((each) => each >= drawings) ? "words" : ""].filter(Boolean).join(" ");
}

/** What the query is made of: `drawings`, their number, and whether there are `several` parts, words counted. */
export const partsOf = ({ query, text }) => ({ drawings: query.length, several: query.length + (text ? 1 : 0) > 1 });

const PLAIN = ["as given", "text"]; // variants that need not be told
export const variantWords = (variant) => (!variant || PLAIN.includes(variant) ? "" : variant);

function cells(figure, filed) {
  const cell = (name, text, title, more) => h("div", more, h("dt", { class: "visually-hidden" }, name), h("dd", { title }, text));
  return h("dl", { class: "cells" },
    cell("Patent", patentName(figure.patent)),
    cell(filed ? "Filed" : "Published", day(filed ? figure.filed : figure.date), filed ? "Filed" : "Published"),
    cell("Figure", figureName(figure), figure.caption || null, { class: "which" }),
    figure.locarno ? cell("Class", figure.locarno, className(figure.locarno), { class: "class" }) : null);
}

/** The gauge beside a cosine: how much of the width it fills. */
function gauge(value) {
  const bar = h("span", { class: "gauge", "aria-hidden": "true" }, h("span", {}));
  bar.firstChild.style.width = `${Math.max(0, Math.min(1, value)) * 100}%`;
  return bar;
}

/** A result as a list item. `context` is {metric, parts, filed, open(place, row)}. */
export function card(result, place, { metric, parts, filed, open }) {
  const { figure, rank } = result;
  const views = viewsOf(result);
  const letters = matchedBy(result, figure.row, parts);
  const likeness = score(result.score, metric);
  const variant = variantWords(views[0].variant);
  const marked = isMarked(figure.figure_id);
  return h("li", { class: "card", "data-place": place, "data-row": figure.row },
    h("div", { class: "sheet-box" },
      h("button", { type: "button", class: "sheet", tabindex: place ? -1 : 0, "aria-label": `${rank}. ${altText(figure)}, similarity ${likeness}. Compare`, onclick: () => open(place, figure.row) },
        figureImg(figure, LISTED, "")),
      h("span", { class: "rank", "aria-hidden": "true" }, rank),
      letters || variant ? h("span", { class: "matched" }, letters ? h("b", {}, letters) : null, variant) : null,
      iconButton("mark", marked ? "Marked; mark again or remove (M)" : "Mark (M)", () => mark(figure), { class: "icon-button mark-button", "aria-pressed": String(marked), "data-figure": figure.figure_id }),
      iconButton("like", "More like this (L)", () => moreLike(figure), { class: "icon-button like-button" })),
    h("div", { class: "block" },
      h("div", { class: "name-row" },
        h("h3", { title: figure.title }, figure.title || "Untitled"),
        h("span", { class: "score", title: parts.several && result.evidence ? "How alike the design is to the whole query; a comparison tells each part" : metric === "cosine" ? "Cosine of the vectors, 1 is the same" : "Minus the squared distance, 0 is the same" }, likeness)),
      metric === "cosine" ? gauge(result.score) : null,
      cells(figure, filed)),
    views.length > 1 ? smallViews(result, views.slice(1), place, parts, open) : null);
}

function smallViews(result, views, place, parts, open) {
  const shown = views.slice(0, views.length > VIEWS ? VIEWS - 1 : VIEWS);
  const rest = result.figures - 1 - shown.length;
  return h("div", { class: "views" },
    shown.map(({ figure }) => {
      const letters = matchedBy(result, figure.row, parts);
      return h("button", { type: "button", tabindex: -1, class: letters ? "evidence" : null, title: figureName(figure) + (letters ? `, best match of ${letters} of the query` : ""), "aria-label": `${altText(figure)}. Compare`, onclick: () => open(place, figure.row) },
        figureImg(figure, 128, ""), letters ? h("b", {}, letters) : null);
    }),
    rest > 0 ? h("button", { type: "button", tabindex: -1, class: "rest", "aria-label": `${rest} more figures. Compare`, onclick: () => open(place, result.figure.row) }, `+${rest}`) : null);
}

