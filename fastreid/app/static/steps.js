// What lies over the page has an entry of its own in the browser's history: Back closes it, not the search beneath.

let close = null; // what Back closes
let left = null; // tells that we have gone back ourselves

/** Make an entry; `closing()` is called once the reader goes back from it. */
export function enter(closing) {
  close = closing;
  history.pushState({ ...history.state, over: true }, "");
}

/** Take the entry away where there is one; resolves once it is gone, so that others may follow. */
export function leave() {
  if (!close) return Promise.resolve();
  close = null;
  return new Promise((resolve) => {
    left = resolve;
    history.back();
  });
}

addEventListener("popstate", () => {
  const act = left ?? close;
  left = close = null;
  act?.();
});
