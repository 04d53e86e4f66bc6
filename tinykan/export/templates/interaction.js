// Mouse, touch, keyboard and controls; then the first drawing.

"use strict";

let scheduled = false;

function redraw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    draw();
  });
}

function moveBy(columns, rows) {
  const {scale} = placeOn(networkCanvas);
  view.x = Math.min(Math.max(view.x - columns / scale, -0.5), data.width - 0.5);
  view.y = Math.min(Math.max(view.y - rows / scale, -0.5), data.height - 0.5);
  redraw();
}

// Zooms by a factor; what is at (column, row) of the canvases stays there.
function zoomBy(factor, column = networkCanvas.width / 2, row = networkCanvas.height / 2) {
  const {scale} = placeOn(networkCanvas);
  const finest = 2 / Math.max(data.width, data.height) / FINEST / (scale / view.zoom);
  const zoom = Math.min(Math.max(view.zoom * factor, 0.5), finest);
  const kept = zoom / view.zoom;
  view.zoom = zoom;
  const [right, down] = [column - networkCanvas.width / 2, row - networkCanvas.height / 2];
  view.x += (right / scale) * (1 - 1 / kept);
  view.y += (down / scale) * (1 - 1 / kept);
  moveBy(0, 0);
}

function showWhole() {
  Object.assign(view, {x: (data.width - 1) / 2, y: (data.height - 1) / 2, zoom: 1});
  redraw();
}

// Of an event, in pixels of the canvas.
function placeOf(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const ratio = networkCanvas.width / box.width;
  return {column: (event.clientX - box.left) * ratio, row: (event.clientY - box.top) * ratio};
}

const pointers = new Map(); // those that are down, and where

function onPointerMove(event) {
  const here = placeOf(event);
  if (!pointers.has(event.pointerId)) {
    showDots(here);
    return;
  }
  const before = pointers.get(event.pointerId);
  pointers.set(event.pointerId, here);
  const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
  if (others.length === 0) {
    moveBy(here.column - before.column, here.row - before.row);
  } else {
    const [other] = others;
    const distance = place =>
      Math.hypot(place.column - other.column, place.row - other.row) || 1;
    moveBy((here.column - before.column) / 2, (here.row - before.row) / 2);
    zoomBy(
      distance(here) / distance(before),
      (here.column + other.column) / 2, (here.row + other.row) / 2);
  }
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.id === "slice") return;
  const far = networkCanvas.width / 8;
  const moves = {
    ArrowLeft: () => moveBy(far, 0),
    ArrowRight: () => moveBy(-far, 0),
    ArrowUp: () => moveBy(0, far),
    ArrowDown: () => moveBy(0, -far),
    "+": () => zoomBy(1.5),
    "=": () => zoomBy(1.5),
    "-": () => zoomBy(1 / 1.5),
    0: showWhole,
  };
  // Elsewhere arrow keys scroll the page.
  const onPicture = event.target.tagName === "CANVAS";
  if (!(event.key in moves) || (event.key.startsWith("Arrow") && !onPicture)) return;
  event.preventDefault();
  moves[event.key]();
}

let dots = []; // the inputs of each layer, for the point under the pointer

function showDots({column, row}) {
  if (!data.layers.length) return;
  const place = placeOn(networkCanvas);
  const point = evaluator.vectors[0];
  const across = data.inputs - 2;
  if (across) point[0] = sliceCoordinate();
  point[across] = coordinate(place.left + column / place.scale, data.width);
  point[across + 1] = coordinate(place.top + row / place.scale, data.height);
  evaluator.run();
  dots = data.layers.map(layer => evaluator.vectors[layer.stage].slice());
  drawAllCurves();
}

function drawAllCurves() {
  data.layers.forEach((layer, index) => {
    drawCurves(byId(`layer-${index}`), layer, dots[index]);
  });
}

function prepareFunctions() {
  byId("functions").hidden = data.layers.length === 0;
  data.layers.forEach((layer, index) => {
    layer.heights = bytesOf(layer.heights);
    const figure = document.createElement("figure");
    figure.className = "layer";
    const canvas = document.createElement("canvas");
    canvas.id = `layer-${index}`;
    figure.style.width = `${48 * layer.inputs}px`;
    const caption = document.createElement("figcaption");
    caption.textContent =
      `Layer ${index + 1}: ${layer.edges.length} functions, ${layer.inputs} inputs, ` +
      `${layer.outputs} ${layer.outputs === 1 ? "output" : "outputs"}`;
    figure.append(canvas, caption);
    byId("layers").append(figure);
  });
}

async function loadOriginals() {
  for (const source of data.originals) {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = blank(data.width, data.height);
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    originals.push({canvas, pixels: context.getImageData(0, 0, data.width, data.height)});
  }
}

function fitCanvases() {
  const ratio = window.devicePixelRatio || 1;
  for (const canvas of canvases) {
    canvas.style.aspectRatio = `${data.width} / ${data.height}`;
    canvas.width = Math.max(1, Math.round(networkCanvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round((canvas.width * data.height) / data.width));
  }
  drawAllCurves();
  redraw();
}

async function start() {
  await loadOriginals();
  for (const element of document.querySelectorAll(".original")) {
    element.hidden = originals.length === 0;
  }
  byId("views").classList.toggle("compared", originals.length > 0);
  byId("slice-control").hidden = !data.slices;
  byId("slice").max = Math.max(data.slices - 1, 0);
  prepareFunctions();
  for (const canvas of canvases) {
    canvas.addEventListener("pointerdown", event => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, placeOf(event));
    });
    canvas.addEventListener("pointermove", onPointerMove);
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, event => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      const {column, row} = placeOf(event);
      zoomBy(Math.exp(-event.deltaY * lines * 0.002), column, row);
    }, {passive: false});
  }
  document.addEventListener("keydown", onKey);
  byId("closer").addEventListener("click", () => zoomBy(1.5));
  byId("farther").addEventListener("click", () => zoomBy(1 / 1.5));
  byId("whole").addEventListener("click", showWhole);
  byId("slice").addEventListener("input", event => {
    view.slice = Number(event.target.value);
    redraw();
  });
  byId("controls").addEventListener("submit", event => event.preventDefault());
  window.addEventListener("resize", fitCanvases);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAllCurves());
  showWhole();
  fitCanvases();
}

start();
