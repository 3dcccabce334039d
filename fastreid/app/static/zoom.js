// Zoom and pan that several viewports share: what is done on one is done on all.

const MOST = 12;
const SWIPE = 60; // pixels that a finger travels to turn to the next result

export class Zoom {
  /** `swiped(direction)` is called with 1 or -1 when a finger wipes across a viewport that is not zoomed. */
  constructor({ swiped = () => {}, changed = () => {} } = {}) {
    Object.assign(this, { views: new Map(), pointers: new Map(), swiped, changed, scale: 1, x: 0, y: 0 });
  }

  /** Let `content` follow within `viewport`; both fill the same place at scale 1. */
  attach(viewport, content) {
    if (!this.views.has(viewport)) this.listen(viewport);
    this.views.set(viewport, content);
    this.apply();
  }

  /** Forget the viewports that are no longer shown. */
  keep(viewports) {
    for (const viewport of this.views.keys()) if (!viewports.includes(viewport)) this.views.set(viewport, null);
  }

  reset() {
    Object.assign(this, { scale: 1, x: 0, y: 0 });
    this.apply();
  }

  /** Zoom by a factor about a point of a viewport, given as shares of its width and height. */
  by(factor, [px, py] = [0.5, 0.5]) {
    const scale = Math.max(1, Math.min(MOST, this.scale * factor));
    const ratio = scale / this.scale;
    this.x = px - (px - this.x) * ratio;
    this.y = py - (py - this.y) * ratio;
    this.scale = scale;
    this.apply();
  }

  /** Move the picture by shares of the viewport. */
  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.apply();
  }

  apply() {
    const bound = (value) => Math.max(1 - this.scale, Math.min(0, value));
    this.x = bound(this.x);
    this.y = bound(this.y);
    for (const [viewport, content] of this.views) {
      if (!content) continue;
      content.style.transform = this.scale === 1 ? "" : `translate(${this.x * 100}%, ${this.y * 100}%) scale(${this.scale})`;
      viewport.classList.toggle("zoomed", this.scale > 1);
    }
    this.changed(this.scale);
  }

  listen(viewport) {
    const share = (event) => {
      const { left, top, width, height } = viewport.getBoundingClientRect();
      return [(event.clientX - left) / width, (event.clientY - top) / height];
    };
    viewport.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.by(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0022)), share(event));
    }, { passive: false });
    viewport.addEventListener("dblclick", (event) => (this.scale > 1 ? this.reset() : this.by(3, share(event))));
    viewport.addEventListener("pointerdown", (event) => {
      if (event.button > 0 || event.target.closest("button")) return;
      viewport.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, share(event));
      this.start = { x: event.clientX, y: event.clientY, touch: event.pointerType === "touch", alone: this.pointers.size === 1 };
    });
    viewport.addEventListener("pointermove", (event) => this.pointers.has(event.pointerId) && this.dragged(event, share(event)));
    viewport.addEventListener("pointerup", (event) => this.lifted(event));
    viewport.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
  }

  dragged(event, now) {
    const before = [...this.pointers.values()];
    const last = this.pointers.get(event.pointerId);
    this.pointers.set(event.pointerId, now);
    if (this.pointers.size === 1) {
      if (this.scale > 1) this.pan(now[0] - last[0], now[1] - last[1]);
      return;
    }
    const after = [...this.pointers.values()];
    const apart = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 0.01;
    this.start.alone = false;
    this.by(apart(after) / apart(before), [(after[0][0] + after[1][0]) / 2, (after[0][1] + after[1][1]) / 2]);
  }

  lifted(event) {
    this.pointers.delete(event.pointerId);
    const { x, y, touch, alone } = this.start ?? {};
    const [dx, dy] = [event.clientX - x, event.clientY - y];
    if (touch && alone && this.scale === 1 && Math.abs(dx) > SWIPE && Math.abs(dx) > 1.5 * Math.abs(dy)) this.swiped(dx < 0 ? 1 : -1);
  }
}
