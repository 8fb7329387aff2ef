/**
 * Shapes drawn with the pointer: lines, rectangles and ellipses by dragging, polygons corner by corner or by dragging around.
 *
 * It follows the pointer, shows what is coming, and hands over the shape; what is then drawn is the editor's affair. Only
 * `paint` needs a canvas.
 */

import { paintCorner, paintOutline } from "./overlay.js";
import { ellipsePoints } from "./raster.js";
import { shapeCorners } from "./strokes.js";

/** The tools of every editor that draws shapes, as its shell takes them. */
export const SHAPE_TOOLS = [
  { id: "line", label: "Line", icon: "line", keys: ["N"], hint: "Drag a line. Shift: steps of 15°." },
  { id: "rectangle", label: "Rectangle", icon: "rectangle", keys: ["U"], hint: "Drag a rectangle. Shift: a square." },
  { id: "ellipse", label: "Ellipse", icon: "ellipse", keys: ["O"], hint: "Drag an ellipse. Shift: a circle." },
  { id: "polygon", label: "Polygon", icon: "polygon", keys: ["L"], hint: "Click corners, or drag around. Enter closes." },
];
/** Those that surround something. */
export const AREAS = ["rectangle", "ellipse", "polygon"];
const DRAGGED = ["line", "rectangle", "ellipse"];
const CLOSE_PX = 10;
const LASSO_STEP_PX = 4;
const LEAST_PX = 3;

export class Shapes {
  /** The corners of the polygon that is being drawn. @type {Place[]} */
  corners = [];
  /** @type {{ tool: string, from: PointerPoint, to: PointerPoint, even: boolean } | null} */
  drag = null;
  /** @type {{ begun: boolean, drawn: boolean, last: PointerPoint, kept: number } | null} */
  lasso = null;

  /** `done(tool, points)` gets the shape: two opposite points, or a polygon's corners; see `outline`. */
  constructor(shell, done) {
    this.shell = shell;
    this.done = done;
  }

  clear() {
    this.drag = this.lasso = null;
    this.corners = [];
  }

  /** Whether a drag or a polygon is begun. */
  get busy() {
    return !!this.drag || this.corners.length > 0;
  }

  /** Returns whether the present tool draws shapes, and so took the press. */
  down(point) {
    const { tool } = this.shell;
    if (tool === "polygon") this.#addCorner(point);
    else if (DRAGGED.includes(tool)) this.drag = { tool, from: point, to: point, even: point.shift };
    else return false;
    this.shell.repaint();
    return true;
  }

  move(points, last) {
    if (this.drag) Object.assign(this.drag, { to: last, even: last.shift });
    else if (this.lasso) this.#dragLasso(this.lasso, points);
  }

  up(point) {
    const { drag, lasso } = this;
    this.drag = this.lasso = null;
    if (drag && Math.hypot(point.sx - drag.from.sx, point.sy - drag.from.sy) >= LEAST_PX) {
      this.done(drag.tool, shapeCorners(drag.tool, drag.from, point, drag.even));
    }
    if (lasso?.begun && lasso.drawn) this.close();
    this.shell.repaint();
  }

  /** The drag is given up; a polygon's earlier corners stay. */
  cancel() {
    if (this.lasso) this.corners = this.corners.slice(0, this.lasso.kept);
    this.drag = this.lasso = null;
    this.shell.repaint();
  }

  /** Give up the polygon; returns whether there was one. */
  escape() {
    const had = this.corners.length > 0;
    this.clear();
    this.shell.repaint();
    return had;
  }

  removeCorner() {
    this.corners.pop();
    this.shell.repaint();
  }

  close() {
    const { corners } = this;
    this.clear();
    if (corners.length > 1) this.done("polygon", corners);
    this.shell.repaint();
  }

  /** `look` says how it will be drawn: {colour, size, solid, mirror}; `cursor` is where the pointer is, null beside the stage. */
  paint(context, view, cursor, look) {
    if (this.drag) {
      const { tool, from, to, even } = this.drag;
      this.#paint(context, view, outline(tool, shapeCorners(tool, from, to, even)), tool !== "line", look);
    }
    if (!this.corners.length) return;
    const next = cursor && !this.lasso?.drawn ? [cursor] : [];
    this.#paint(context, view, [...this.corners, ...next], false, look);
    paintCorner(context, view, this.corners[0]);
  }

  #paint(context, view, corners, closed, { colour, size, solid, mirror }) {
    const flipped = corners.map(({ x, y }) => ({ x: view.width - x, y }));
    const filled = solid && this.shell.tool !== "line" && corners.length > 2;
    for (const each of mirror ? [corners, flipped] : [corners]) paintOutline(context, view, each, { colour, size, filled, closed });
  }

  #addCorner(point) {
    const { corners } = this;
    const first = corners[0] && this.shell.view.toStage(corners[0].x, corners[0].y);
    if (first && corners.length > 2 && Math.hypot(first.x - point.sx, first.y - point.sy) < CLOSE_PX) return this.close();
    const last = corners.at(-1);
    this.lasso = { begun: !last, drawn: false, last: point, kept: corners.length };
    corners.push(point.shift && last ? shapeCorners("line", last, point, true)[1] : { x: point.x, y: point.y });
    return undefined;
  }

  #dragLasso(lasso, points) {
    for (const point of points) {
      const { last, drawn } = lasso;
      if (Math.hypot(point.sx - last.sx, point.sy - last.sy) < (drawn ? LASSO_STEP_PX : 2 * LASSO_STEP_PX)) continue;
      Object.assign(lasso, { last: point, drawn: true });
      this.corners.push({ x: point.x, y: point.y });
    }
  }
}

/** The corners of a shape that was dragged from points[0] to points[1]; a polygon is its points. */
export function outline(tool, points) {
  const [a, b] = points;
  if (tool === "rectangle") return [a, { x: b.x, y: a.y }, b, { x: a.x, y: b.y }];
  if (tool === "ellipse") return ellipsePoints(a.x, a.y, b.x, b.y);
  return points;
}

/** Keys that finish and mend a polygon. */
export function addPolygonKeys(shell, shapes, group) {
  const when = () => shapes.corners.length > 0;
  shell.shortcuts.add({ keys: ["Enter"], label: "Close the polygon", group, when, run: () => shapes.close() });
  shell.shortcuts.add({ keys: ["Del"], label: "Remove the polygon's last corner", group, when, run: () => shapes.removeCorner() });
}
