/**
 * The nouns that editors and panels share, for the type checker alone: nothing of this reaches a browser.
 *
 * Lengths are document pixels unless they are called stage pixels (CSS pixels from the stage's top left corner).
 */

// ---- documents, as controlnet_core/domain/document.py has them

type Bytes = Uint8Array<ArrayBuffer>;

/** A rectangle [x0, y0, x1, y1] in pixels, ends excluded. */
type Rect = [x0: number, y0: number, x1: number, y1: number];

/** One byte for every pixel, row by row. */
interface Plane {
  width: number;
  height: number;
  pixels: Bytes;
}

/** Coverage 0..255, class indices, or red, green and blue (three bytes a pixel). */
interface RasterDocument extends Plane {
  kind: "mask" | "classes" | "rgb" | "rgba";
}

interface SkeletonDocument {
  kind: "skeleton";
  width: number;
  height: number;
  people: Person[];
}

type StudioDocument = RasterDocument | SkeletonDocument;

/** A joint; `confidence` 0..1, 0 for one that is not there. */
interface Joint {
  x: number;
  y: number;
  confidence: number;
}

interface Person {
  body: Joint[];
  face?: Joint[];
  left_hand?: Joint[];
  right_hand?: Joint[];
  hidden?: number[];
  ghosts?: number[];
}

/** Red, green and blue, 0..255 each. */
type Colour = [red: number, green: number, blue: number];

// ---- colour strokes

type LayingTool = "pen" | "crayon" | "eraser";

/** What is being laid on a sheet, see editors/colour/sheet.js; `within`: 1 where a crayon may go, null for everywhere. */
interface Laying {
  tool: LayingTool;
  colour: Colour;
  within: Bytes | null;
}

// ---- changes, as canvas/patch.js makes them; `bytes` is what they take

interface PixelPatch {
  type: "pixels";
  rect: Rect;
  /** Bytes a pixel, where there is more than one. */
  channels?: number;
  packed: Bytes;
  bytes: number;
}

interface ValuePatch {
  type: "value";
  start: number;
  removed: string;
  inserted: string;
  bytes: number;
}

interface PackedRaster {
  width: number;
  height: number;
  packed: Bytes;
  length: number;
}

interface RasterPatch {
  type: "raster";
  before: PackedRaster;
  after: PackedRaster;
  bytes: number;
}

interface RasterDocumentPatch extends Omit<RasterPatch, "type"> {
  type: "document";
  kind: RasterDocument["kind"];
}

interface SkeletonDocumentPatch {
  type: "document";
  before: string;
  after: string;
  bytes: number;
}

type DocumentPatch = RasterDocumentPatch | SkeletonDocumentPatch;

/** What the history keeps. Editors may have patches of their own. */
interface Patch {
  type: string;
  bytes?: number;
}

/** -1: undo, +1: redo. */
type Direction = -1 | 1;

// ---- pointer

interface Place {
  x: number;
  y: number;
}

/** A place with half the width that a brush has there. */
interface CurvePoint extends Place {
  radius: number;
}

/** Where the pointer is: (x, y) in document pixels, (sx, sy) in stage pixels; `pressure` 0..1; `button` as in canvas/pointer.js. */
interface PointerPoint extends Place {
  sx: number;
  sy: number;
  pen: boolean;
  touch: boolean;
  pressure: number;
  button: number;
  shift: boolean;
  alt: boolean;
  ctrl: boolean;
  time: number;
}

interface PointerActions {
  hover?(point: PointerPoint): void;
  leave?(): void;
  down?(point: PointerPoint): void;
  move?(points: PointerPoint[], last: PointerPoint): void;
  up?(point: PointerPoint): void;
  cancel?(): void;
}

// ---- controls

interface ControlLook {
  id: string;
  label: string;
  icon: string;
  keys?: string[];
}

interface Tool extends ControlLook {
  cursor?: string;
  hint?: string;
}

interface Action extends ControlLook {
  run(): unknown;
  place: "top" | "rail" | "menu" | "keys";
  group?: string;
  spare?: boolean;
  enabled?(): boolean;
  pressed?(): boolean;
}

interface Shortcut {
  keys: string[];
  label: string;
  group: string;
  run?(event: unknown): unknown;
  when?(): boolean;
}

/** A labelled slider; `show` sets it without a word to its owner. */
interface Slider extends HTMLLabelElement {
  show(value: number): void;
}

interface HTMLElement {
  /** What the tooltip says, see `describe` of shared/controls.js. */
  tooltip?: { label: string; keys: string[] };
  /** Closes the popover that is open at this control. */
  popover_?: (() => void) | null;
  /** An editor's shell, for looking inside from the console and from tests. */
  studio?: unknown;
}

// ---- the page

/** Streamlit's setTriggerValue: tells Python something, once. */
type Trigger = (event: string, value: unknown) => void;

/** What Streamlit gives a component. */
interface Component<D> {
  parentElement: HTMLElement | ShadowRoot;
  data: D;
  setTriggerValue: Trigger;
}

type EditorKind = "scribble" | "colour" | "pose" | "seg" | "view" | "inpaint";

/** What components.mount.edit packs before the document. */
interface EditorProps {
  kind: EditorKind;
  rev: number;
  upload_url: string;
  slot: string;
  height: string;
  options: EditorOptions;
}

/** Sides that a canvas may have, in pixels. */
interface Sizes {
  min?: number;
  max?: number;
  step?: number;
  fixed?: boolean;
}

/** What a page tells an editor; what only one of them reads stands at that editor. */
interface EditorOptions {
  name?: string;
  underlay?: string;
  sizes?: Sizes;
  layers?: { url: string; opacity: number }[];
  mask?: boolean;
  brush_px?: number;
  live?: { on: boolean; url: string };
  [more: string]: any;
}

// ---- jobs

/** The fields of controlnet_core.domain.job.Event that reach a browser. */
interface JobEvent {
  job: string;
  kind: string;
  text?: string;
  hint?: string;
  step: number;
  steps: number;
  ahead: number;
  seconds: number;
  preview?: string;
  pictures?: (string | Picture)[];
}

interface Picture {
  url: string;
  name: string;
  seed: number | null;
}

/** What is known of a job, see shared/progress.js; `fraction` 0..1, null where it cannot be told. */
interface JobState {
  phase: "idle" | "waiting" | "running" | "done" | "failed" | "cancelled";
  fraction: number | null;
  text: string;
  hint: string;
  preview: string | null;
  pictures: Picture[];
}

// ---- events from the outside, by the fields that are read: they may be made without a DOM

/** Of a keydown event. */
interface KeyPress {
  key: string;
  code?: string;
  ctrlKey?: boolean;
  metaKey?: boolean;
  altKey?: boolean;
  shiftKey?: boolean;
}

/** Of a pointer event. */
interface PointerLike {
  pointerId: number;
  pointerType: string;
  clientX: number;
  clientY: number;
  button: number;
  pressure: number;
  shiftKey?: boolean;
  altKey?: boolean;
  ctrlKey?: boolean;
  metaKey?: boolean;
  timeStamp: number;
  getCoalescedEvents?(): PointerLike[];
  preventDefault?(): void;
}

/** Of a wheel event. */
interface WheelLike {
  clientX: number;
  clientY: number;
  deltaX: number;
  deltaY: number;
  deltaMode: number;
  ctrlKey?: boolean;
  metaKey?: boolean;
  shiftKey?: boolean;
  preventDefault?(): void;
}

/** A place on the way of a brush. */
interface StrokePoint extends Place {
  pen?: boolean;
  pressure?: number;
}
