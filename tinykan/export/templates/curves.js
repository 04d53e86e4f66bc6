// The learned functions of each layer, and where on them the network is for one point.

"use strict";

// `layer` is {inputs, outputs, samples, stage, edges, ranges, heights}: each edge in `edges` is
// [input, output], and has `samples` bytes of `heights`. Inputs are within their `ranges`. `vector`,
// if there is one, has the inputs at a point.
function drawCurves(canvas, layer, vector) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const cell = width / layer.inputs;
  const cellHeight = Math.min(cell, 40 * ratio);
  canvas.width = width;
  canvas.height = Math.round(cellHeight * layer.outputs);
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  context.lineWidth = 1.25 * ratio;
  context.strokeStyle = style.color;
  const gap = Math.min(3 * ratio, cell / 8);
  const across = cell - 2 * gap;
  const down = cellHeight - 2 * gap;

  layer.edges.forEach(([input, output], edge) => {
    const left = input * cell + gap;
    const top = output * cellHeight + gap;
    const y = k => top + (1 - layer.heights[edge * layer.samples + k] / 255) * down;
    const last = layer.samples - 1;
    context.beginPath();
    for (let k = 0; k <= last; k++) context.lineTo(left + (k / last) * across, y(k));
    context.stroke();
    if (!vector) return;
    const [low, high] = layer.ranges[input];
    const place = Math.min(Math.max((vector[input] - low) / (high - low || 1), 0), 1);
    const before = Math.min(Math.floor(place * last), last - 1);
    const part = place * last - before;
    context.fillStyle = style.getPropertyValue("--accent");
    context.beginPath();
    context.arc(
      left + place * across, y(before) * (1 - part) + y(before + 1) * part,
      2.5 * ratio, 0, 2 * Math.PI);
    context.fill();
  });
}
