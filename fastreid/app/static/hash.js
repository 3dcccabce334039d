// The address of a search: all of it but uploaded drawings, which may be confidential and are not for ever.

import { fromInput } from "./words.js";

const LISTS = { locarno: "class", office: "office", view: "view", applicant: "applicant", not_patents: "not" };
const TEXTS = { text: "text", title: "title" };
const DATES = { before: "before", since: "since" };
const CHOICES = { fusion: ["mean", "max"], group: ["design", "figure"], date_field: ["date", "filed"] };

/** Return the search as the part of an address behind "#"; "" for one without conditions. */
export function encode(search) {
  const address = new URLSearchParams();
  for (const { figure, box, rotate, mirror } of search.query) {
    if (figure) address.append("like", [figure.patent, figure.figure_id, box ?? "", rotate, mirror ? 1 : 0].join("|"));
  }
  for (const [name, short] of Object.entries(DATES)) if (search[name]) address.set(short, search[name]);
  for (const [name, short] of Object.entries(LISTS)) for (const value of search[name]) address.append(short, value);
  for (const [name, short] of Object.entries(TEXTS)) if (search[name].trim()) address.set(short, search[name].trim());
  for (const [name, [usual]] of Object.entries(CHOICES)) if (search[name] !== usual) address.set(name, search[name]);
  if (search.rotations) address.set("rotations", 1);
  if (search.mirror) address.set("mirror", 1);
  if (search.page) address.set("page", search.page + 1);
  return String(address);
}

/**
 * Return `{search, figures, refused}` of an address; `figures` are to be looked up: {patent, figure_id, box, rotate,
 * mirror}; `refused` are the parts "before=20181399" with a day that there is not.
 */
export function decode(text) {
  const address = new URLSearchParams(text);
  const search = {};
  const refused = [];
  for (const [name, short] of Object.entries(DATES)) {
    const given = address.get(short);
    if (!given) continue;
    const value = fromInput(given);
    if (value) search[name] = value;
    else refused.push(`${short}=${given}`);
  }
  for (const [name, short] of Object.entries(LISTS)) search[name] = address.getAll(short);
  for (const [name, short] of Object.entries(TEXTS)) search[name] = address.get(short) ?? "";
  for (const [name, allowed] of Object.entries(CHOICES)) {
    if (allowed.includes(address.get(name))) search[name] = address.get(name);
  }
  search.rotations = address.has("rotations");
  search.mirror = address.has("mirror");
  search.page = Math.max(0, Math.trunc(Number(address.get("page") ?? 1)) - 1 || 0);
  return { search, refused, figures: address.getAll("like").map(readLike).filter(Boolean) };
}

function readLike(text) {
  const [patent, figure_id, box = "", rotate = "0", mirror = "0"] = text.split("|");
  if (!patent || !figure_id) return null;
  const sides = box.split(",").map(Number);
  return {
    patent, figure_id,
    box: sides.length === 4 && sides.every(Number.isInteger) ? sides : null,
    rotate: [90, 180, 270].includes(Number(rotate)) ? Number(rotate) : 0,
    mirror: mirror === "1",
  };
}
