// Files to take along: a job on the service, with its progress, then a download.

import { api, jobResult } from "./api.js";
import { h, icon } from "./dom.js";
import { menuButton, say } from "./panels.js";
import { number } from "./words.js";

const FORMATS = { csv: "CSV table", json: "JSON record", pdf: "PDF report" };
const EVERY = 300; // milliseconds between questions about a job

/** A menu of formats; `what()` gives {search: ID} or {set: ID}. */
export function exportMenu(what) {
  const entries = Object.entries(FORMATS).map(([format, name]) => [name, () => exportAs({ ...what(), format })]);
  return menuButton({ class: "text-button" }, [icon("upload"), "Export"], Object.fromEntries(entries));
}

async function exportAs(body) {
  let job = null;
  let stopped = false;
  const cancel = () => { stopped = true; if (job) api.cancelJob(job).catch(() => {}); say("The export was cancelled."); };
  const bar = h("progress", { "aria-label": "Progress of the export" });
  const { note, close } = say(`Writing the ${FORMATS[body.format]}…`, { Cancel: cancel }, { stay: 0 });
  note.querySelector("span").after(bar);
  try {
    ({ job } = await api.startExport(body));
    const state = await finished(job, bar, () => stopped);
    if (stopped) return;
    if (state.state === "done") download(job);
    else throw new Error(state.message || "The export did not succeed.");
    close();
    say(`The ${FORMATS[body.format]} is ready.`);
  } catch (error) {
    close();
    if (!stopped) say(error.message, { "Try again": () => exportAs(body) }, { stay: 12000 });
  }
}

async function finished(job, bar, stopped) {
  for (;;) {
    const state = await api.job(job);
    if (state.total) Object.assign(bar, { max: state.total, value: state.done, title: `${number(state.done)} of ${number(state.total)}` });
    if (state.state !== "running" || stopped()) return state;
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
}

function download(job) {
  const link = h("a", { href: jobResult(job), download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}
