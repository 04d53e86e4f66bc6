// The original, enlarged by nearest neighbors and by cubic convolution, and the errors at its
// pixels. Places are in pixels: 0 is the center of the first one.

"use strict";

function drawNearest(context, source, place) {
  const {width, height} = context.canvas;
  context.fillStyle = "gray";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = false;
  const side = place.scale;
  context.drawImage(
    source, (-0.5 - place.left) * side, (-0.5 - place.top) * side,
    source.width * side, source.height * side);
}

// Cubic convolution (Keys 1981, a = -1/2), edges repeated: first along rows, then along columns.
function drawBicubic(context, pixels, place) {
  const {width, height} = context.canvas;
  const columns = cubicTaps(width, place.left, place.scale, pixels.width);
  const rows = cubicTaps(height, place.top, place.scale, pixels.height);
  const between = new Map();
  const image = context.createImageData(width, height);
  for (let row = 0; row < height; row++) {
    const lines = [0, 1, 2, 3].map(t => line(rows.at[4 * row + t]));
    for (let column = 0; column < width; column++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let t = 0; t < 4; t++) sum += rows.weight[4 * row + t] * lines[t][3 * column + c];
        image.data[4 * (row * width + column) + c] = sum;
      }
    }
  }
  for (let k = 3; k < image.data.length; k += 4) image.data[k] = 255;
  context.putImageData(image, 0, 0);

  // A row of the original, enlarged.
  function line(row) {
    if (!between.has(row)) {
      const values = new Float32Array(3 * width);
      for (let column = 0; column < width; column++) {
        for (let t = 0; t < 4; t++) {
          const k = 4 * (row * pixels.width + columns.at[4 * column + t]);
          const weight = columns.weight[4 * column + t];
          for (let c = 0; c < 3; c++) values[3 * column + c] += weight * pixels.data[k + c];
        }
      }
      between.set(row, values);
    }
    return between.get(row);
  }
}

// Of each of `count` screen pixels, which four pixels it is mixed of, and with which weights.
function cubicTaps(count, start, scale, size) {
  const at = new Int32Array(4 * count);
  const weight = new Float32Array(4 * count);
  for (let k = 0; k < count; k++) {
    const place = start + (k + 0.5) / scale;
    const whole = Math.floor(place);
    const t = place - whole;
    const weights = [
      t * (-0.5 + t * (1 - 0.5 * t)),
      1 + t * t * (-2.5 + 1.5 * t),
      t * (0.5 + t * (2 - 1.5 * t)),
      t * t * (-0.5 + 0.5 * t),
    ];
    for (let n = 0; n < 4; n++) {
      at[4 * k + n] = Math.min(Math.max(whole - 1 + n, 0), size - 1);
      weight[4 * k + n] = weights[n];
    }
  }
  return {at, weight};
}

const ERROR_GAIN = 4;

// Gray where the fit is exact, brighter where it is too bright; and the PSNR in dB.
function errorsOf(fit, original) {
  const image = new ImageData(original.width, original.height);
  let squares = 0;
  for (let k = 0; k < original.data.length; k++) {
    const difference = k % 4 === 3 ? 0 : fit.data[k] - original.data[k];
    squares += difference ** 2;
    image.data[k] = k % 4 === 3 ? 255 : 127.5 + ERROR_GAIN * difference;
  }
  const mean = squares / (3 * original.width * original.height);
  return {image, psnr: 10 * Math.log10(255 ** 2 / mean)};
}
