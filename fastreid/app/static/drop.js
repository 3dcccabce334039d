// Drawings dropped anywhere on the page, or pasted into it.

import { h, icon } from "./dom.js";
import { addFiles, filesOf } from "./uploads.js";

const veil = h("div", { class: "drop-veil", hidden: true }, h("div", {}, icon("upload"), h("strong", {}, "Drop to search with this drawing")));
let depth = 0; // entering a child leaves its parent: only the difference tells whether something hovers over the page

const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

function show(on) {
  veil.hidden = !on;
  if (!on) depth = 0;
}

export function acceptDrops() {
  document.body.append(veil);
  addEventListener("dragenter", (event) => { if (carriesFiles(event)) { event.preventDefault(); depth += 1; show(true); } });
  addEventListener("dragover", (event) => { if (carriesFiles(event)) { event.preventDefault(); event.dataTransfer.dropEffect = "copy"; } });
  addEventListener("dragleave", (event) => { if (carriesFiles(event) && --depth <= 0) show(false); });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(false);
    addFiles(filesOf(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    const files = filesOf(event.clipboardData);
    const typing = event.target.closest?.("input, textarea");
    if (files.length) {
      event.preventDefault();
      addFiles(files);
    } else if (!typing) addFiles([]); // says what can be pasted
  });
}
