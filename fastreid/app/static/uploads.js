// Drawings on their way to the service: chosen, dropped or pasted; sent again when the service has let go of them.

import { api, patient } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { sameBox } from "./geometry.js";
import { say } from "./panels.js";
import { onLost } from "./pictures.js";
import { again, change, item, state } from "./state.js";
import { bytes, count } from "./words.js";

const files = new Map(); // sha256: File, to send it again
let lost = new Set(); // sha256 of those that neither the service nor this page has any longer
const sending = new Map(); // sha256: promise, so that a lost upload is sent once
export let limits = { upload_bytes: 20 << 20, upload_pixels: 64_000_000, query_figures: 8, page: 100 };
let pending = 0;
let showPending = () => {};

export function setLimits(given) {
  limits = { ...limits, ...given };
}

/** `show(n)` is called when the number of drawings on their way changes. */
export function onPending(show) {
  showPending = show;
}

export const room = () => limits.query_figures - state.query.length;

/** Where refusals are told, above the drawings: those of the files that came last. */
export const notice = h("div", { class: "notice", role: "alert", hidden: true });
const refusals = h("div", {});

/** Add a refusal; `actions` are {text: function}. */
function complain(title, text, actions = {}) {
  refusals.append(h("p", {}, h("strong", {}, title), " ", text));
  fill(notice, icon("warn"), refusals, h("div", {}, Object.entries({ ...actions, Dismiss: quiet }).map(([name, act]) =>
    h("button", { type: "button", class: "link", onclick: act }, name))));
  notice.hidden = false;
  notice.scrollIntoView({ block: "nearest" });
}

export function quiet() {
  notice.hidden = true;
  fill(refusals);
}

/** Send files and make query figures of them; what cannot be used is told, the rest goes on. */
export async function addFiles(given) {
  const list = [...given];
  const there = state.query.map((each) => each.id);
  const said = [];
  quiet();
  if (!list.length) return complain("No image there.", "Drop or paste a PNG, JPEG, GIF, TIFF, BMP or WebP file.");
  const anew = (act) => ({ "Start anew with these": () => { removeItems(there); act?.(); } });
  if (room() <= 0) return complain("The query is full.", `It has ${limits.query_figures} figures; remove one first.`, anew(() => addFiles(list)));
  for (const file of list) {
    if (room() <= 0) {
      complain("The query is full.", `Only the first ${limits.query_figures} figures are used.`);
      break;
    }
    pending += 1;
    showPending(pending);
    try {
      said.push(use(await send(file), file));
    } catch (error) {
      refuse(file, error);
    } finally {
      pending -= 1;
      showPending(pending);
    }
  }
  const mixed = there.length > 0 && state.query.some((each) => !there.includes(each.id));
  if (mixed) said.push(`Added to the ${there.length === 1 ? "drawing" : `${there.length} drawings`} already there.`);
  const text = said.filter(Boolean).join(" ");
  if (text) say(text, mixed ? anew() : {}, { stay: mixed ? 15000 : 5000 });
  return undefined;
}

async function send(file) {
  if (file.size > limits.upload_bytes) {
    throw Object.assign(new Error(`It has ${bytes(file.size)}; at most ${bytes(limits.upload_bytes)} are taken.`), { status: 413 });
  }
  if (file.size === 0) throw Object.assign(new Error("The file is empty."), { status: 415 });
  const sent = await patient(() => api.upload(file), { waiting: () => say("The service is busy; the drawing is sent again in a moment.") });
  files.set(sent.upload, file);
  return sent;
}

const TITLES = { 413: "Too large.", 415: "Not an image that can be read.", 503: "The service is busy.", 0: "No answer." };

function refuse(file, error) {
  const name = file.name ? `“${file.name}”: ` : "";
  complain(TITLES[error.status] ?? "The drawing was not taken.", name + error.message);
}

/** These drawings are lost until somebody brings them again. */
export function missing(uploads) {
  lost = new Set(uploads);
}

/** The query figures whose drawings are lost. */
export const lostItems = () => state.query.filter((each) => lost.has(each.upload));

/** Make query figures of an upload; returns what is to be told, or "". */
function use({ upload, name, width, height, figures }, file) {
  if (lostItems().some((each) => each.upload === upload)) {
    lost.delete(upload);
    again("query");
    return `“${name || file.name}” is there again.`;
  }
  const whole = { upload, name: name || file.name || "pasted image", width, height, figures };
  const several = figures.length > 1 ? figures.slice(0, room()) : [];
  const items = several.length
    ? several.map(({ box }, region) => item({ ...whole, box, region }))
    : [item(whole)];
  const known = (each) => state.query.some((old) => old.upload === upload && sameBox(old.box, each.box));
  const fresh = items.filter((each) => !known(each));
  if (!fresh.length) return "This drawing is in the query already.";
  change({ query: [...state.query, ...fresh], selected: state.query.length });
  if (!several.length) return "";
  const left = figures.length - several.length;
  return `${count(figures.length, "figure")} found on this page. ${left ? `The first ${several.length} are used` : "All are used"}; leave out what you do not need.`;
}

/** Bring back an upload that the service has let go of; resolves whether it could be sent again. */
export function sendAgain({ upload }) {
  const file = files.get(upload);
  if (!file) return Promise.resolve(false);
  if (!sending.has(upload)) {
    const sent = send(file).then((answer) => answer.upload === upload, () => false);
    sending.set(upload, sent.finally(() => sending.delete(upload)));
  }
  return sending.get(upload);
}

onLost(sendAgain);

/** Take query figures out; uploads that none uses any longer are removed from the service at once. */
export function removeItems(ids) {
  const gone = state.query.filter((each) => ids.includes(each.id));
  const query = state.query.filter((each) => !ids.includes(each.id));
  change({ query });
  const used = new Set(query.map((each) => each.upload));
  for (const upload of new Set(gone.map((each) => each.upload))) {
    if (upload && !used.has(upload)) api.forget(upload).catch(() => {}); // it runs out by itself where this fails
  }
}

/** Files of a drop or of the clipboard. */
export const filesOf = (transfer) => [...(transfer?.files ?? [])];
