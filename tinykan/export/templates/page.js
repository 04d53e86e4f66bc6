// The page: what is seen, how it is moved, and when it is drawn.
// `data` has {width, height, inputs, outputs, shader, textured, parameters, slices, originals, layers}.

"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const parameters = new Float32Array(bytesOf(data.parameters).buffer);
const evaluator = network(parameters);
const byId = id => document.getElementById(id);
const networkCanvas = byId("network");
const canvases = [...document.querySelectorAll("#views canvas")];
const originals = []; // ImageData of each slice
const errors = new Map(); // of slices: {canvas, psnr}

// The place in the center of the views, in pixels of the original, and how much larger than in
// the whole picture everything is.
const view = {x: 0, y: 0, zoom: 1, slice: 0};
let renderer = firstRenderer();
let drawing = 0; // the number of the current drawing: earlier ones stop
let pixelsPerMillisecond = 50;

const FRAME = 12; // milliseconds of drawing between two frames
// Neighbors on the screen differ by this much in coordinates at least: several units in the last
// place of a float32.
const FINEST = 5e-7;

function bytesOf(text) {
  return Uint8Array.from(atob(text), character => character.charCodeAt(0));
}

function firstRenderer() {
  if (new URLSearchParams(location.search).has("javascript")) return plain();
  try {
    return gpuRenderer(data, parameters);
  } catch (error) {
    console.warn(`Drawing without the GPU: ${error.message}`);
    return plain();
  }
}

function plain() {
  return plainRenderer(data, evaluator);
}

// Draws rows; where the GPU is lost, without it from then on.
function drawn(request, first, count) {
  try {
    return renderer.draw(request, first, count);
  } catch (error) {
    console.warn(`Drawing without the GPU: ${error.message}`);
    renderer = plain();
    return renderer.draw(request, first, count);
  }
}

// From the place of a pixel to the network's coordinate.
const coordinate = (place, count) => (count > 1 ? (2 * place) / (count - 1) - 1 : 2 * place);
const sliceCoordinate = () => (data.slices ? (2 * view.slice) / data.slices - 1 : 0);
const nearestSlice = () => Math.round(view.slice);

// Where the canvas shows what: {left, top, scale} in pixels of the original.
function placeOn(canvas) {
  const scale = (view.zoom * canvas.width) / data.width;
  return {
    left: view.x - canvas.width / 2 / scale,
    top: view.y - canvas.height / 2 / scale,
    scale,
  };
}

function requestFor(place, width, height) {
  return {
    width,
    height,
    x: coordinate(place.left, data.width),
    y: coordinate(place.top, data.height),
    dx: 2 / Math.max(data.width - 1, 1) / place.scale,
    dy: 2 / Math.max(data.height - 1, 1) / place.scale,
    slice: sliceCoordinate(),
  };
}

function draw() {
  const number = ++drawing;
  const place = placeOn(networkCanvas);
  if (originals.length) {
    const slice = Math.min(nearestSlice(), originals.length - 1);
    drawNearest(byId("nearest").getContext("2d"), originals[slice].canvas, place);
    drawBicubic(byId("bicubic").getContext("2d"), originals[slice].pixels, place);
  }
  describe();
  byId("views").ariaBusy = "true";
  drawNetwork(number, place)
    .then(finished => finished && drawErrors(number, place))
    .then(() => {
      if (number === drawing) byId("views").ariaBusy = "false";
    });
}

// Whole in a coarse form if it would take long, then in bands of all its pixels; true if no later
// drawing came between.
async function drawNetwork(number, place) {
  const {width, height} = networkCanvas;
  const context = networkCanvas.getContext("2d");
  let step = 1;
  while (step < 16 && (width * height) / step ** 2 / pixelsPerMillisecond > 2 * FRAME) step *= 2;
  for (const size of step > 1 ? [step, 1] : [1]) {
    const request = requestFor(
      {...place, scale: place.scale / size}, Math.ceil(width / size), Math.ceil(height / size));
    const show = (source, first, count) => {
      context.imageSmoothingEnabled = false;
      context.drawImage(
        source, 0, first, request.width, count,
        0, first * size, request.width * size, count * size);
    };
    if (!(await inBands(number, request, show))) return false;
  }
  return true;
}

async function inBands(number, request, show) {
  let frameEnd = performance.now() + FRAME;
  for (let first = 0; first < request.height; ) {
    const fitting = Math.floor((pixelsPerMillisecond * FRAME) / request.width);
    const count = Math.min(Math.max(fitting, 1), request.height - first);
    const start = performance.now();
    const source = drawn(request, first, count);
    const pixels = count * request.width;
    pixelsPerMillisecond = pixels / Math.max(performance.now() - start, pixels / 1e5);
    show(source, first, count);
    first += count;
    if (performance.now() > frameEnd) {
      await new Promise(resolve => setTimeout(resolve));
      if (number !== drawing) return false;
      frameEnd = performance.now() + FRAME;
    }
  }
  return true;
}

// The errors of a slice are computed once, in the size of the original.
async function drawErrors(number, place) {
  if (!originals.length) return;
  const slice = nearestSlice();
  if (!errors.has(slice) && Number.isInteger(view.slice)) {
    const fit = blank(data.width, data.height);
    const request = requestFor({left: -0.5, top: -0.5, scale: 1}, data.width, data.height);
    const keep = (source, first, count) => fit.getContext("2d").drawImage(
      source, 0, first, data.width, count, 0, first, data.width, count);
    if (!(await inBands(number, request, keep))) return;
    const pixels = fit.getContext("2d").getImageData(0, 0, data.width, data.height);
    const {image, psnr} = errorsOf(pixels, originals[slice].pixels);
    errors.set(slice, {canvas: canvasOf(image), psnr});
    describe();
  }
  if (errors.has(slice)) {
    drawNearest(byId("error").getContext("2d"), errors.get(slice).canvas, place);
  }
}

function blank(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function canvasOf(image) {
  const canvas = blank(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function describe() {
  const zoom = view.zoom < 10 ? view.zoom.toFixed(1) : Math.round(view.zoom).toLocaleString("en");
  const pixels = data.width / view.zoom;
  const across = pixels < 10 ? pixels.toPrecision(2) : Math.round(pixels).toLocaleString("en");
  byId("zoom").textContent =
    `${zoom} ×` + (originals.length ? `, ${across} of the original's pixels across` : "");
  byId("network-note").textContent = renderer.where;
  byId("slice-value").textContent = String(view.slice);
  const between = !Number.isInteger(view.slice);
  for (const note of document.querySelectorAll(".slice-note")) {
    note.textContent = between ? `, slice ${nearestSlice()}` : "";
  }
  const known = errors.get(nearestSlice());
  byId("error-note").textContent = known ? `(PSNR ${known.psnr.toFixed(1)} dB)` : "";
}
