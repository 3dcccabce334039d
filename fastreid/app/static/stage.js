// The query figure at work: shown large, with a crop box for mouse, touch and keyboard.

import { fill, h, icon, iconButton, later } from "./dom.js";
import { isWhole, moved, pulled, sameBox, toImage, toView, turnedSize, within } from "./geometry.js";
import { pictureOf, sizeOf, turned } from "./pictures.js";
import { changeItem, state } from "./state.js";
import { letter } from "./words.js";

const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const touch = matchMedia("(hover: none)");
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

let item = null; // the query figure that is shown
let size = [1, 1]; // of its image, rotated as it is seen
let box = null; // the crop in pixels of the image as it is seen
let drawn = ""; // which picture the canvas holds

const canvas = h("canvas", {});
const others = h("div", { class: "regions" });
const crop = h("div", { class: "crop", tabindex: 0, role: "group" }, HANDLES.map((name) => h("span", { class: `handle ${name}`, "data-handle": name })));
const sheet = h("div", { class: "stage-sheet" }, canvas, others, crop);
const told = h("span", { class: "visually-hidden", "aria-live": "polite" });
const tools = h("div", { class: "tools", role: "toolbar", "aria-label": "Change the selected figure" });
const hint = h("p", { class: "hint" });
export const stage = h("div", { class: "stage", hidden: true }, sheet, tools, hint, told);

/** Show the selected query figure. */
export async function showStage() {
  const chosen = state.query[state.selected];
  stage.hidden = !chosen;
  item = chosen ?? null;
  if (!item) return;
  drawTools();
  const wanted = [item.upload ?? item.figure.row, item.rotate, item.mirror].join(" ");
  if (wanted !== drawn) {
    sheet.classList.add("waiting");
    try {
      await drawPicture(item, wanted);
    } catch {
      if (item !== chosen) return;
      drawn = "";
      hint.textContent = item.upload ? "The service no longer has this drawing. Add the file again." : "The image of this figure cannot be shown.";
      return;
    } finally {
      sheet.classList.remove("waiting");
    }
    if (item !== chosen) return; // another figure was selected meanwhile, or none is left
  }
  place();
}

async function drawPicture(given, wanted) {
  const picture = await pictureOf(given);
  const whole = await sizeOf(given, picture);
  if (given !== item) return; // another one was selected meanwhile
  if (!given.width) Object.assign(given, { width: whole[0], height: whole[1] });
  const seen = turned(picture, whole, { rotate: given.rotate, mirror: given.mirror });
  canvas.width = seen.width;
  canvas.height = seen.height;
  canvas.getContext("2d").drawImage(seen, 0, 0);
  size = turnedSize(whole, given.rotate);
  sheet.style.setProperty("--ratio", String(size[0] / size[1]));
  drawn = wanted;
}

function place() {
  const image = [item.width, item.height];
  box = item.box ? toView(item.box, image, item.rotate, item.mirror) : [0, 0, ...size];
  drawBox();
  const rest = (item.figures?.length > 1 ? item.figures : []).filter((each) => !sameBox(each.box, item.box));
  fill(others, isWhole(item.box, image) && rest.length < 2 ? [] : rest.map((each) => {
    const region = h("span", { class: "region" });
    position(region, toView(each.box, image, item.rotate, item.mirror));
    return region;
  }));
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Query figure ${letter(state.selected)}: ${item.name ?? item.figure.figure_id}`);
}

function position(element, [l, t, r, b]) {
  Object.assign(element.style, {
    left: `${(100 * l) / size[0]}%`, top: `${(100 * t) / size[1]}%`,
    width: `${(100 * (r - l)) / size[0]}%`, height: `${(100 * (b - t)) / size[1]}%`,
  });
}

function drawBox() {
  position(crop, box);
  const whole = isWhole(box, size);
  crop.classList.toggle("whole", whole);
  const words = whole ? "the whole image" : `from ${box[0]}, ${box[1]} to ${box[2]}, ${box[3]} of ${size[0]} x ${size[1]} pixels`;
  crop.setAttribute("aria-label", `Crop box: ${words}. Arrow keys move it, with Shift they size it, Delete takes it away.`);
  hint.textContent = whole ? (touch.matches ? "Pull a corner to search a part of it." : "Drag over the drawing to search a part of it.") : `Part: ${box[2] - box[0]} × ${box[3] - box[1]} pixels`;
  return words;
}

function commit() {
  if (!item) return; // it was removed while the box rested
  const found = isWhole(box, size) ? null : toImage(box, size0(), item.rotate, item.mirror);
  told.textContent = `Crop: ${drawBox()}`;
  if (!sameBox(found, item.box)) changeItem(item.id, { box: found, region: regionOf(found) });
}
const commitSoon = later(commit, 350);

const size0 = () => [item.width, item.height];

const regionOf = (found) => {
  const place = item.figures?.findIndex((each) => sameBox(each.box, found)) ?? -1;
  return place < 0 ? null : place;
};

/** Search the whole image again. */
function resetCrop() {
  if (!item) return;
  box = [0, 0, ...size];
  commit();
}

function drawTools() {
  const turn = (by) => changeItem(item.id, { rotate: (item.rotate + by + 360) % 360 });
  const cropped = Boolean(item.box);
  fill(tools,
    iconButton("turnLeft", "Rotate left", () => turn(-90)),
    iconButton("turnRight", "Rotate right", () => turn(90)),
    iconButton("mirror", "Mirror", () => changeItem(item.id, { mirror: !item.mirror }), { "aria-pressed": String(item.mirror) }),
    h("button", { type: "button", class: "text-button", disabled: !cropped, onclick: resetCrop }, icon("crop"), "Whole image"));
}

// -- by pointer ----------------------------------------------------------------------------------------------------------

function pointAt(event) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return [((event.clientX - left) / width) * size[0], ((event.clientY - top) / height) * size[1]];
}

const least = () => Math.max(8, Math.round(Math.min(...size) / 50));

sheet.addEventListener("pointerdown", (event) => {
  if (!item || event.button > 0) return;
  const start = pointAt(event);
  const from = [...box];
  const handle = event.target.dataset?.handle;
  const inside = event.target === crop && !isWhole(box, size);
  if (event.pointerType === "touch" && !handle && !inside) return; // a finger on the drawing scrolls the page
  event.preventDefault();
  crop.focus({ preventScroll: true });
  sheet.setPointerCapture(event.pointerId);
  const move = (now) => {
    const [x, y] = pointAt(now);
    const [dx, dy] = [x - start[0], y - start[1]];
    if (handle) box = pulled(from, handle, dx, dy, size, least());
    else if (inside) box = moved(from, dx, dy, size);
    else if (Math.hypot(dx, dy) > least()) box = within([...start, x, y], size, least());
    drawBox();
  };
  const end = () => {
    sheet.removeEventListener("pointermove", move);
    sheet.removeEventListener("pointerup", end);
    sheet.removeEventListener("pointercancel", end);
    commit();
  };
  sheet.addEventListener("pointermove", move);
  sheet.addEventListener("pointerup", end);
  sheet.addEventListener("pointercancel", end);
});

// -- by keyboard ---------------------------------------------------------------------------------------------------------

crop.addEventListener("keydown", (event) => {
  if (event.key === "Delete" || event.key === "Backspace") {
    event.preventDefault();
    return resetCrop();
  }
  const step = KEYS[event.key];
  if (!step || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  const by = Math.max(1, Math.round(Math.max(...size) / (event.altKey ? 400 : 50)));
  const [dx, dy] = [step[0] * by, step[1] * by];
  // a box around everything has nowhere to go: it shrinks from the side that the arrow comes from
  box = event.shiftKey || isWhole(box, size) ? pulled(box, isWhole(box, size) ? away(step) : "se", dx, dy, size, least()) : moved(box, dx, dy, size);
  drawBox();
  commitSoon();
});

const away = ([x, y]) => (x > 0 ? "w" : x < 0 ? "e" : y > 0 ? "n" : "s");
