// The line at the bottom: which index, which model, how exact.

import { fill, h } from "./dom.js";
import { count, moment } from "./words.js";

let known = { index: { figures: 0, designs: 0, metric: "cosine" }, model: null };
export const statusLine = h("footer", { class: "status", "aria-label": "Index and model" });

const year = (date) => Math.floor(date / 10000);
export const indexOf = () => known.index;
export const modelOf = () => known.model;

export function showStatus(status) {
  known = status;
  const { index, model, version } = status;
  const recall = Object.entries(index.recall ?? {}).filter(([name]) => !["k", "queries"].includes(name));
  const how = index.exact ? "exact search" : `approximate search${recall.length ? `, recall ${recall.map(([name, value]) => (name === "all" ? value : `${value} at ${name}`)).join(", ")}` : ""}`;
  const [from, to] = index.dates?.date ?? [0, 0];
  fill(statusLine,
    h("span", {}, `${count(index.figures, "figure")} of ${count(index.designs, "design")}`, from ? `, ${year(from)} to ${year(to)}` : ""),
    h("span", { title: `Index ${index.uid}, changed ${moment(index.changed)}` }, `index version ${index.version} (${index.backend})`),
    h("span", {}, how),
    h("span", { title: model ? `Weights ${model.weights}` : "" }, model ? model.name : "no model: only figures of the index can be searched for"),
    h("span", {}, `fastreid ${version}`));
}
