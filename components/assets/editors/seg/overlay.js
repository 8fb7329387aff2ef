/** Words over the map: the class that would be picked, names of regions. In stage pixels; changes nothing. */

/** A dark pill with a word, beside a place on the stage. */
export function paintTag(context, view, text, { sx, sy }) {
  context.font = "500 12px system-ui, sans-serif";
  const width = context.measureText(text).width + 16;
  const x = Math.min(sx + 14, view.stageWidth - width - 4);
  const y = sy > 40 ? sy - 34 : sy + 16;
  context.beginPath();
  context.roundRect(x, y, width, 22, 6);
  context.fillStyle = "#17181ce6";
  context.fill();
  context.fillStyle = "#fff";
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillText(text, x + 8, y + 11.5);
}

/** Names at their places (labels.js), where they have room; larger regions first, none over another. */
export function paintLabels(context, view, places, nameOf) {
  const taken = [];
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const { index, x, y, radius } of places) {
    const room = radius * view.zoom;
    if (room < 7) continue;
    const at = view.toStage(x, y);
    const size = Math.max(11, Math.min(17, room * 0.5));
    context.font = `600 ${size}px system-ui, sans-serif`;
    const half = context.measureText(nameOf(index)).width / 2 + 2;
    const box = [at.x - half, at.y - size * 0.65, at.x + half, at.y + size * 0.65];
    if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
    taken.push(box);
    context.strokeStyle = "rgb(12 13 16 / .78)";
    context.lineWidth = 3.5;
    context.strokeText(nameOf(index), at.x, at.y);
    context.fillStyle = "#fff";
    context.fillText(nameOf(index), at.x, at.y);
  }
}
