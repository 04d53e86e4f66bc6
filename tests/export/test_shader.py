"""GLSL and WGSL compile, and compute what the network does."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from tests.export.browser import answer_of, needs_chromium
from tests.export.networks import NETWORKS, outputs, points, trained
from tinykan import KAN, Siren
from tinykan.errors import UserError
from tinykan.export import lowered
from tinykan.export.shader import glsl_source, wgsl_source
from tinykan.tasks.images import coordinates, to_bytes

# A row of pixels, one for each point, of floats.
GLSL_POINTS = """
function inGlsl(source, inputs, outputs, points) {
  const gl = document.createElement("canvas").getContext("webgl2");
  gl.getExtension("EXT_color_buffer_float");
  const argument = ["p.x", "p.xy", "p.xyz", "p"][inputs - 1];
  const result = ["vec4(y)", "vec4(y,0,0)", "vec4(y,0)", "y"][outputs - 1];
  const type = ["float", "vec2", "vec3", "vec4"][outputs - 1];
  const fragment = `#version 300 es
    precision highp float; precision highp int; precision highp sampler2D;
    uniform sampler2D points; out vec4 value;
    ${source}
    void main() {
      vec4 p = texelFetch(points, ivec2(gl_FragCoord.xy), 0);
      ${type} y = network(${argument});
      value = ${result};
    }`;
  gl.useProgram(linked(gl, [VERTEX_SHADER, fragment]));
  const count = points.length;
  const texture = data => {
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, count, 1, 0, gl.RGBA, gl.FLOAT, data);
    return gl.getParameter(gl.TEXTURE_BINDING_2D);
  };
  const target = texture(null);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target, 0);
  texture(new Float32Array(points.flatMap(p => [...p, 0, 0, 0].slice(0, 4))));
  gl.viewport(0, 0, count, 1);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
  const values = new Float32Array(4 * count);
  gl.readPixels(0, 0, count, 1, gl.RGBA, gl.FLOAT, values);
  return points.map((_, k) => Array.from(values.slice(4 * k, 4 * k + outputs)));
}
"""
WGSL_POINTS = """
let device;
async function inWgsl(source, inputs, outputs, points) {
  device ??= await (await navigator.gpu.requestAdapter()).requestDevice();
  const argument = ["p.x", "p.xy", "p.xyz", "p"][inputs - 1];
  const result = ["vec4f(y)", "vec4f(y,0,0)", "vec4f(y,0)", "y"][outputs - 1];
  const code = `${source}
    @group(0) @binding(0) var<storage, read> points: array<vec4f>;
    @group(0) @binding(1) var<storage, read_write> values: array<vec4f>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
      if (id.x < arrayLength(&points)) {
        let p = points[id.x];
        let y = network(${argument});
        values[id.x] = ${result};
      }
    }`;
  const compute = {module: await compiled(code), entryPoint: "main"};
  const pipeline = await device.createComputePipelineAsync({layout: "auto", compute});
  const size = 16 * points.length;
  const {STORAGE, COPY_SRC, COPY_DST, MAP_READ} = GPUBufferUsage;
  const [given, made, read] = [STORAGE | COPY_DST, STORAGE | COPY_SRC, COPY_DST | MAP_READ].map(
    usage => device.createBuffer({size, usage}));
  device.queue.writeBuffer(
    given, 0, new Float32Array(points.flatMap(p => [...p, 0, 0, 0].slice(0, 4))));
  const entries = [given, made].map((buffer, binding) => ({binding, resource: {buffer}}));
  const group = device.createBindGroup({layout: pipeline.getBindGroupLayout(0), entries});
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(Math.ceil(points.length / 64));
  pass.end();
  encoder.copyBufferToBuffer(made, 0, read, 0, size);
  device.queue.submit([encoder.finish()]);
  await read.mapAsync(GPUMapMode.READ);
  const values = new Float32Array(read.getMappedRange());
  return points.map((_, k) => Array.from(values.slice(4 * k, 4 * k + outputs)));
}
async function compiled(code) {
  const module = device.createShaderModule({code});
  const {messages} = await module.getCompilationInfo();
  if (messages.length) throw new Error(messages.map(m => `${m.lineNum}: ${m.message}`).join("; "));
  return module;
}
"""
RUN = """
(async () => {
  const found = {};
  for (const [name, {glsl, wgsl, inputs, outputs, points}] of Object.entries(JOBS)) {
    found[name] = {};
    for (const [language, compute, source] of [["glsl", inGlsl, glsl], ["wgsl", inWgsl, wgsl]]) {
      try {
        found[name][language] = await compute(source, inputs, outputs, points);
      } catch (error) {
        found[name][language] = String(error.message);
      }
    }
  }
  answer(found);
})();
"""


def renderers() -> str:
    from tinykan.export.page import _file

    return f"<script>{_file('renderers.js')}</script>"


@cache
def case(name: str):
    """The program, points within the range of training and near it, and the outputs there."""
    model = trained(NETWORKS[name]())
    x = points(model, 80)
    return lowered(model), x, outputs(model, x)


@pytest.fixture(scope="module")
def computed():
    jobs = {}
    for name in NETWORKS:
        program, x, _ = case(name)
        if max(program.in_features, program.out_features) > 4:
            continue
        jobs[name] = {
            "glsl": glsl_source(program),
            "wgsl": wgsl_source(program),
            "inputs": program.in_features,
            "outputs": program.out_features,
            "points": x.tolist(),
        }
    script = GLSL_POINTS + WGSL_POINTS + RUN.replace("JOBS", json.dumps(jobs))
    return answer_of(renderers(), script)


@needs_chromium
@pytest.mark.parametrize("name", NETWORKS)
def test_shaders_compute_what_the_network_does(computed, name):
    program, _, expected = case(name)
    if max(program.in_features, program.out_features) > 4:
        pytest.skip("it has more outputs than a vector of a shader")
    for language in ("glsl", "wgsl"):
        found = computed[name][language]
        assert not isinstance(found, str), f"{language}: {found}"
        error = np.abs(np.array(found, dtype=float) - expected) / (1 + np.abs(expected))
        print(name, language, np.sort(error.max(axis=1))[-3:])
        assert error.max() < 1e-3
