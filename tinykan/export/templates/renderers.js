// Both renderers draw rows of a view: `draw(view, first, count)` returns a canvas of the view's size
// that has these rows. A view is {width, height, x, y, dx, dy, slice}: the pixel in a column and a
// row is at (x + (column + 1/2) dx, y + (row + 1/2) dy) in the network's coordinates.

"use strict";

const VERTEX_SHADER = `#version 300 es
void main() { gl_Position = vec4(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1, 0, 1); }`;

// From -1, which is black, to 1, which is white.
function fragmentShader({shader, inputs}) {
  const point = inputs === 3 ? "vec3(slice, p)" : "p";
  return `#version 300 es
precision highp float;
precision highp int;
uniform vec4 view;
uniform float height, slice;
out vec4 color;
${shader}
void main() {
  vec2 p = view.xy + vec2(gl_FragCoord.x, height - gl_FragCoord.y) * view.zw;
  color = vec4(0.5 + 0.5 * vec3(network(${point})), 1);
}`;
}

// Raises an Error where WebGL 2 is missing, or refuses the shader.
function gpuRenderer(network, parameters) {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", {alpha: false, antialias: false, depth: false});
  if (!gl) throw new Error("this browser has no WebGL 2");
  const program = linked(gl, [VERTEX_SHADER, fragmentShader(network)]);
  gl.useProgram(program);
  const place = name => gl.getUniformLocation(program, name);
  const [viewPlace, heightPlace, slicePlace] = ["view", "height", "slice"].map(place);
  if (network.textured) uploadParameters(gl, parameters);
  gl.enable(gl.SCISSOR_TEST);

  function draw(view, first, count) {
    if (gl.isContextLost()) throw new Error("the GPU was lost");
    const {width, height} = view;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    gl.viewport(0, 0, width, height);
    gl.scissor(0, height - first - count, width, count);
    gl.uniform4f(viewPlace, view.x, view.y, view.dx, view.dy);
    gl.uniform1f(heightPlace, height);
    gl.uniform1f(slicePlace, view.slice);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    // Waits until it is drawn, so that time can be measured.
    gl.readPixels(0, height - first - 1, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    return canvas;
  }
  return {draw, where: "on the GPU"};
}

function linked(gl, sources) {
  const program = gl.createProgram();
  for (const [index, source] of sources.entries()) {
    const shader = gl.createShader(index ? gl.FRAGMENT_SHADER : gl.VERTEX_SHADER);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) {
      throw new Error(gl.getShaderInfoLog(shader) || "the shader was not compiled");
    }
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    throw new Error(gl.getProgramInfoLog(program) || "the shader was not linked");
  }
  return program;
}

function uploadParameters(gl, parameters) {
  const columns = 1024; // as the shader expects
  const rows = Math.ceil(parameters.length / (4 * columns));
  const texels = new Float32Array(4 * columns * rows);
  texels.set(parameters);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texImage2D(
    gl.TEXTURE_2D, 0, gl.RGBA32F, columns, rows, 0, gl.RGBA, gl.FLOAT, texels);
}

// `evaluator` is what `network` of the exported source returns.
function plainRenderer({inputs, outputs}, evaluator) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const point = evaluator.vectors[0];
  const values = evaluator.vectors[evaluator.vectors.length - 1];
  const across = inputs - 2;

  function draw(view, first, count) {
    const {width, height} = view;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const image = context.createImageData(width, count);
    const bytes = image.data; // rounds, and limits
    if (across) point[0] = view.slice;
    for (let row = 0, k = 0; row < count; row++) {
      for (let column = 0; column < width; column++, k += 4) {
        point[across] = view.x + (column + 0.5) * view.dx;
        point[across + 1] = view.y + (first + row + 0.5) * view.dy;
        evaluator.run();
        for (let c = 0; c < 3; c++) {
          bytes[k + c] = 127.5 + 127.5 * values[outputs === 3 ? c : 0];
        }
        bytes[k + 3] = 255;
      }
    }
    context.putImageData(image, 0, first);
    return canvas;
  }
  return {draw, where: "in JavaScript"};
}
