// Images of the service, loaded once each, and query figures drawn as they are searched: cut, rotated, mirrored.

import { api, figureImage, uploadImage } from "./api.js";
import { readVariant, turnedSize } from "./geometry.js";

export const FULL = 1200; // longer side in pixels, at most, of an image that is worked on
export const LISTED = 384; // of those that the list of results shows
const KEPT = 40;
const loaded = new Map(); // address: promise of an HTMLImageElement, oldest first
let mend = async () => false;

/** `lost(item)` tries to bring an upload back that the service no longer has; resolves whether it did. */
export function onLost(lost) {
  mend = lost;
}

/** Load an image; the promise is broken where it cannot be had. */
export function load(address) {
  if (!loaded.has(address)) {
    const image = new Image();
    const ready = new Promise((resolve, reject) => {
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("The image cannot be shown."));
    });
    ready.catch(() => loaded.delete(address));
    image.src = address;
    loaded.set(address, ready);
    if (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
  }
  return loaded.get(address);
}

const addressOf = (item) => (item.upload ? uploadImage(item.upload, FULL) : figureImage(item.figure.row, FULL));

/** The image of a query figure, whole and as it was given. */
export async function pictureOf(item) {
  try {
    return await load(addressOf(item));
  } catch (error) {
    if (item.upload && (await mend(item))) return load(addressOf(item));
    throw error;
  }
}

const sizes = new Map(); // row: promise of {width, height}

/** Size of the image that boxes of a query figure refer to; a large one came here smaller than it is. */
export async function sizeOf({ width, height, figure }, picture) {
  if (width) return [width, height];
  if (Math.max(picture.naturalWidth, picture.naturalHeight) < FULL) return [picture.naturalWidth, picture.naturalHeight];
  if (!sizes.has(figure.row)) sizes.set(figure.row, api.figureSize(figure.row));
  const size = await sizes.get(figure.row);
  return [size.width, size.height];
}

/** Draw an image rotated and mirrored, from `box` of it, so that it fits `side` pixels; returns a canvas. */
export function turned(picture, size, { box = null, rotate = 0, mirror = false }, side = FULL) {
  const [l, t, r, b] = box ?? [0, 0, ...size];
  const [width, height] = turnedSize([r - l, b - t], rotate);
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(canvas.width / width, canvas.height / height);
  if (mirror) context.transform(-1, 0, 0, 1, width, 0);
  context.translate(width / 2, height / 2);
  context.rotate((rotate * Math.PI) / 180);
  const shown = (picture.naturalWidth ?? picture.width) / size[0]; // the service may have sent it smaller than it is
  context.drawImage(picture, l * shown, t * shown, (r - l) * shown, (b - t) * shown, -(r - l) / 2, -(b - t) / 2, r - l, b - t);
  return canvas;
}

/** A query figure as it is searched, under one of its variants ("mirrored, rotated 90"). */
export async function prepared(item, side = FULL, variant = "as given") {
  const picture = await pictureOf(item);
  const once = turned(picture, await sizeOf(item, picture), item, side);
  if (variant === "as given") return once;
  const { mirror, rotate } = readVariant(variant);
  const flipped = mirror ? turned(once, [once.width, once.height], { mirror }, side) : once;
  return rotate ? turned(flipped, [flipped.width, flipped.height], { rotate }, side) : flipped;
}

/** Cut the white margin of a canvas away but for a little, so that two drawings fill their sheets alike. */
export function trimmed(canvas) {
  const { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const box = [width, height, 0, 0];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      if (pixels[at] > 200) continue; // red stands for grey: drawings have no colour, or little
      if (x < box[0]) box[0] = x;
      if (x >= box[2]) box[2] = x + 1;
      if (y < box[1]) box[1] = y;
      box[3] = y + 1;
    }
  }
  if (box[2] <= box[0]) return canvas;
  const margin = Math.round(0.04 * Math.max(box[2] - box[0], box[3] - box[1]));
  const [l, t, r, b] = [box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin];
  const cut = document.createElement("canvas");
  Object.assign(cut, { width: r - l, height: b - t });
  const context = cut.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, cut.width, cut.height);
  context.drawImage(canvas, -l, -t);
  return cut;
}

/** A figure of the index on a canvas. */
export async function figureCanvas(figure) {
  // without the service the browser may still hold the smaller one of the list
  const picture = await load(figureImage(figure.row, FULL)).catch(() => load(figureImage(figure.row, LISTED)));
  return turned(picture, [picture.naturalWidth, picture.naturalHeight], {});
}

/** Show a query figure on a canvas of `side` CSS pixels, whole within it. */
export async function showThumb(canvas, item, side) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const picture = await prepared(item, side * ratio);
  canvas.width = canvas.height = side * ratio;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, (canvas.width - picture.width) / 2, (canvas.height - picture.height) / 2);
}

