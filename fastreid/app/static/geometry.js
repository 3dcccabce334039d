// Boxes (left, top, right, bottom) on an image that is shown rotated and mirrored. Pure functions, whole pixels.

/** Size of an image once it is rotated clockwise by `rotate` degrees. */
export function turnedSize([width, height], rotate) {
  return rotate % 180 ? [height, width] : [width, height];
}

/** Where a box of the image lies once the image is rotated clockwise, then mirrored left to right. */
export function toView([l, t, r, b], [width, height], rotate, mirror) {
  const turned = {
    0: [l, t, r, b],
    90: [height - b, l, height - t, r],
    180: [width - r, height - b, width - l, height - t],
    270: [t, width - r, b, width - l],
  }[rotate];
  const across = turnedSize([width, height], rotate)[0];
  return mirror ? [across - turned[2], turned[1], across - turned[0], turned[3]] : turned;
}

/** The inverse of `toView`. */
export function toImage(box, size, rotate, mirror) {
  const seen = turnedSize(size, rotate);
  const unmirrored = mirror ? [seen[0] - box[2], box[1], seen[0] - box[0], box[3]] : box;
  return toView(unmirrored, seen, (360 - rotate) % 360, false);
}

/** Bring a box within the image, at least `least` pixels on each side; corners may be given in any order. */
export function within([l, t, r, b], [width, height], least = 8) {
  const span = (from, to, length) => {
    const low = Math.max(0, Math.min(from, to, length - least));
    return [Math.round(low), Math.round(Math.min(length, Math.max(from, to, low + least)))];
  };
  const [left, right] = span(l, r, width);
  const [top, bottom] = span(t, b, height);
  return [left, top, right, bottom];
}

/** Move a box by (dx, dy) as far as the image goes. */
export function moved([l, t, r, b], dx, dy, [width, height]) {
  const x = Math.round(Math.max(-l, Math.min(dx, width - r)));
  const y = Math.round(Math.max(-t, Math.min(dy, height - b)));
  return [l + x, t + y, r + x, b + y];
}

/** Pull at a handle, named by the sides it moves ("nw", "e", ...), by (dx, dy). */
export function pulled([l, t, r, b], handle, dx, dy, size, least = 8) {
  let box = [l, t, r, b];
  if (handle.includes("w")) box[0] = Math.min(l + dx, r - least);
  if (handle.includes("e")) box[2] = Math.max(r + dx, l + least);
  if (handle.includes("n")) box[1] = Math.min(t + dy, b - least);
  if (handle.includes("s")) box[3] = Math.max(b + dy, t + least);
  return within(box, size, least);
}

/** Whether a box is the whole image. */
export const isWhole = (box, [width, height]) =>
  !box || (box[0] <= 0 && box[1] <= 0 && box[2] >= width && box[3] >= height);

export const sameBox = (one, other) => String(one ?? "") === String(other ?? "");

/** "mirrored, rotated 90": {mirror: true, rotate: 90}, for the names of variants that the service gives. */
export function readVariant(name = "as given") {
  return { mirror: name.includes("mirrored"), rotate: Number(/rotated (\d+)/.exec(name)?.[1] ?? 0) };
}
