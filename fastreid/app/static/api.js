// Talking to the service: one function per kind of call, one kind of error.

import { sentence } from "./words.js";

/** What went wrong: `status` 0 means that no answer came; `message` is a sentence for the reader. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { name: "ApiError", status, code });
  }
}

const OFFLINE = "The search service does not answer. Is it still running, and is this computer connected to it?";
const WAITS = [1000, 2000, 4000]; // milliseconds before a busy server is asked again
let askToken = null; // opens the login and resolves when the service let us in
let entering = null;

/** `ask()` is called when the service wants a token; it resolves once it has been accepted. */
export function onLogin(ask) {
  askToken = ask;
}

async function failure(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // a proxy may answer with a page of its own
  }
  const message = error.message || `The service answered with the error ${response.status}.`;
  return new ApiError(response.status, error.code ?? String(response.status), sentence(message));
}

/**
 * Fetch with a login where one is asked for; raises `ApiError`, or `AbortError` when `signal` fired. With `keepalive` it goes
 * on when the page is left.
 */
export async function call(method, path, { body, signal, form, keepalive = false } = {}) {
  const options = { method, signal, keepalive, credentials: "same-origin", headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  } else if (form) options.body = form;
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "offline", OFFLINE);
  }
  if (response.status === 401 && askToken && path !== "/api/login") {
    entering ??= askToken().finally(() => (entering = null));
    await entering;
    return call(method, path, { body, signal, form, keepalive });
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function json(method, path, options) {
  const response = await call(method, path, options);
  return response.status === 204 ? null : response.json().catch(() => null);
}

/** A list of kept things: `{found, damaged}`, how many cannot be read and are left out. */
async function list(path) {
  const response = await call("GET", path);
  return { found: await response.json(), damaged: Number(response.headers.get("Fastreid-Damaged") ?? 0) };
}

/** Ask again, after a while, where the server says that it is busy; `waiting(milliseconds)` is told before each wait. */
export async function patient(run, { signal, waiting = () => {} } = {}) {
  for (let tries = 0; ; tries++) {
    try {
      return await run();
    } catch (error) {
      if (error.status !== 503 || tries >= WAITS.length) throw error;
      waiting(WAITS[tries]);
      await pause(WAITS[tries], signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new DOMException("stopped", "AbortError"));
    if (signal?.aborted) return stop();
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); stop(); }, { once: true });
  });
}

const id = encodeURIComponent;

export const api = {
  status: () => json("GET", "/api/status"),
  login: (token) => json("POST", "/api/login", { body: { token } }),
  upload(file) {
    const form = new FormData();
    form.append("file", file, file.name || "pasted.png");
    return json("POST", "/api/uploads", { form });
  },
  /** Whether the service still has a drawing. */
  has: (upload) => call("GET", uploadImage(upload, 32)).then(() => true, (error) => { if (error.status === 410) return false; throw error; }),
  forget: (upload) => json("DELETE", `/api/uploads/${id(upload)}`),
  search: (body, signal) => json("POST", "/api/search", { body, signal }),
  counts: (filter, signal) => json("POST", "/api/counts", { body: { filter }, signal }),
  figure: (row) => json("GET", `/api/figures/${row}`),
  figureSize: (row) => json("GET", `/api/figures/${row}/size`),
  design: (patent, signal) => json("GET", `/api/designs?patent=${id(patent)}`, { signal }),
  explain: async (body, signal) => (await call("POST", "/api/explain", { body, signal })).blob(),
  searches: () => list("/api/searches"),
  record: (name) => json("GET", `/api/searches/${id(name)}`),
  saveSearch: (body) => json("POST", "/api/searches", { body }),
  editSearch: (name, body) => json("PATCH", `/api/searches/${id(name)}`, { body }),
  deleteSearch: (name) => json("DELETE", `/api/searches/${id(name)}`),
  replay: (name) => json("POST", `/api/searches/${id(name)}/replay`),
  sets: () => list("/api/sets"),
  newSet: (name) => json("POST", "/api/sets", { body: { name } }),
  set: (name) => json("GET", `/api/sets/${id(name)}`),
  editSet: (name, body) => json("PATCH", `/api/sets/${id(name)}`, { body }),
  deleteSet: (name) => json("DELETE", `/api/sets/${id(name)}`),
  putItem: (name, body) => json("PUT", `/api/sets/${id(name)}/items`, { body, keepalive: true }),
  dropItem: (name, figure) => json("DELETE", `/api/sets/${id(name)}/items?figure_id=${id(figure)}`),
  startExport: (body) => json("POST", "/api/exports", { body }),
  job: (name) => json("GET", `/api/jobs/${id(name)}`),
  cancelJob: (name) => json("DELETE", `/api/jobs/${id(name)}`),
};

export const uploadImage = (upload, side = 1200) => `/api/uploads/${id(upload)}/image?side=${side}`;
export const figureImage = (row, side = 256) => `/api/figures/${row}/image?side=${side}`;
export const jobResult = (name) => `/api/jobs/${id(name)}/result`;
