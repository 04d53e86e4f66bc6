"""GLSL and WGSL compile, and compute what the network does."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.export.browser import FEW, answer_of, needs_chromium
from tests.export.networks import NETWORKS, outputs, settled, trained
from tinykan import KAN, BSpline, Siren
from tinykan.errors import UserError
from tinykan.export import Program, evaluate, lowered
from tinykan.export.form import Sum
from tinykan.export.page import file_of_page
from tinykan.export.shader import glsl_source, tidied, wgsl_source
from tinykan.export.shader_languages import in_formula, literal
from tinykan.export.shader_splines import as_combination
from tinykan.tasks.images import to_bytes

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
async function hasDevice() {
  device ??= await (await navigator.gpu?.requestAdapter())?.requestDevice();
  return Boolean(device);
}
async function inWgsl(source, inputs, outputs, points) {
  if (!(await hasDevice())) return null;
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


RENDERERS = f"<script>{file_of_page('renderers.js')}</script>"


@cache
def case(name: str):
    """The program, points where float32 computes it, and the outputs there."""
    model = trained(NETWORKS[name]())
    x, expected = settled(model)
    return lowered(model), x[::4], expected[::4]


def computed(names: list[str]):
    """Values of each network by GLSL and by WGSL, a text where that failed, or none without
    WebGPU."""
    jobs = {}
    for name in names:
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
    return answer_of(RENDERERS, script)


@needs_chromium
@pytest.mark.parametrize("names", [FEW, pytest.param([*NETWORKS], marks=pytest.mark.long)])
def test_shaders_compute_what_networks_do(names):
    problems = {}
    for name, by_language in computed(names).items():
        _, _, expected = case(name)
        for language, found in by_language.items():
            if found is None:
                continue
            if isinstance(found, str):
                problems[name, language] = found
                continue
            error = np.abs(np.array(found, dtype=float) - expected) / (1 + np.abs(expected))
            # Weights have 7 digits, sines are those of the GPU, and networks multiply such errors:
            # by 30 in each layer of sines; by far more where a layer is normalized that hardly
            # varies.
            if not (np.quantile(error, 0.8) < 1e-3 and error.max() < 0.02):
                problems[name, language] = f"error {error.max():.1e}"
    assert not problems


# As Shadertoy does, and as the comment of the WGSL says.
SHADERTOY = """
function drawGlsl(source, width, height, {mouse}) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const gl = canvas.getContext("webgl2");
  const fragment = `#version 300 es
    precision highp float; precision highp int;
    uniform vec3 iResolution; uniform vec4 iMouse; uniform float iTime; out vec4 color;
    ${source}
    void main() { mainImage(color, gl_FragCoord.xy); }`;
  const program = linked(gl, [VERTEX_SHADER, fragment]);
  gl.useProgram(program);
  gl.uniform3f(gl.getUniformLocation(program, "iResolution"), width, height, 1);
  gl.uniform4f(gl.getUniformLocation(program, "iMouse"), mouse, 0, 1, 0);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
  const bytes = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  const rows = [];
  for (let row = height - 1; row >= 0; row--) {
    rows.push(...bytes.slice(4 * width * row, 4 * width * (row + 1)));
  }
  return rows;
}
async function drawWgsl(source, width, height, {slice}) {
  if (!(await hasDevice())) return null;
  const module = await compiled(source);
  const format = "rgba8unorm";
  const pipeline = await device.createRenderPipelineAsync({
    layout: "auto", vertex: {module}, fragment: {module, targets: [{format}]}});
  const {UNIFORM, COPY_DST, MAP_READ} = GPUBufferUsage;
  const {RENDER_ATTACHMENT, COPY_SRC} = GPUTextureUsage;
  const frame = device.createBuffer({size: 16, usage: UNIFORM | COPY_DST});
  device.queue.writeBuffer(frame, 0, new Float32Array([width, height, slice, 0]));
  const size = [width, height];
  const texture = device.createTexture({size, format, usage: RENDER_ATTACHMENT | COPY_SRC});
  const read = device.createBuffer({size: 256 * height, usage: COPY_DST | MAP_READ});
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0), entries: [{binding: 0, resource: {buffer: frame}}]});
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginRenderPass({
    colorAttachments: [{view: texture.createView(), loadOp: "clear", storeOp: "store"}]});
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.draw(3);
  pass.end();
  encoder.copyTextureToBuffer({texture}, {buffer: read, bytesPerRow: 256}, size);
  device.queue.submit([encoder.finish()]);
  await read.mapAsync(GPUMapMode.READ);
  const bytes = new Uint8Array(read.getMappedRange());
  const rows = [];
  for (let row = 0; row < height; row++) {
    rows.push(...bytes.slice(256 * row, 256 * row + 4 * width));
  }
  return rows;
}
"""
DRAW = """
(async () => {
  const found = [];
  for (const {glsl, wgsl, width, height, options} of JOBS) {
    found.push([
      drawGlsl(glsl, width, height, options), await drawWgsl(wgsl, width, height, options)]);
  }
  answer(found);
})();
"""


@needs_chromium
def test_pictures_are_those_of_the_network():
    models = [
        trained(Siren([2, 8, 8, 1])),
        trained(KAN([2, 4, 3], seed=1)),
        trained(KAN([3, 4, 1], seed=2)),
        Siren([2] + [16] * 13 + [1]),  # more stages than there are letters
    ]
    width, height, slice_ = 24, 16, 0.25
    jobs = [
        {
            "glsl": glsl_source(lowered(model), main=True),
            "wgsl": wgsl_source(lowered(model), main=True),
            "width": width,
            "height": height,
            "options": {"mouse": (slice_ + 1) / 2 * width, "slice": slice_},
        }
        for model in models
    ]
    script = GLSL_POINTS + WGSL_POINTS + SHADERTOY + DRAW.replace("JOBS", json.dumps(jobs))
    found = answer_of(RENDERERS, script)
    # The picture is the square in the middle, from -1 to 1.
    axes = [(2 * np.arange(n) + 1 - n) / height for n in (width, height)]
    x = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2).astype(np.float32)
    outside = np.abs(x).max(axis=1) > 1
    assert outside.sum() == 8 * height
    for model, pictures in zip(models, found, strict=True):
        given = np.full((len(x), 1), slice_, np.float32)
        inputs = np.concatenate([given, x], axis=1) if model.in_features == 3 else x
        expected = np.broadcast_to(to_bytes(outputs(model, inputs)), (len(x), 3)).astype(int)
        expected[outside] = 0
        assert np.ptp(expected[~outside]) > 5
        for picture in filter(None, pictures):  # without WebGPU there is one
            pixels = np.array(picture).reshape(-1, 4)
            assert np.abs(pixels[:, :3] - expected).max() <= 2
            assert (pixels[:, 3] == 255).all()


@pytest.mark.parametrize("source", [glsl_source, wgsl_source])
@pytest.mark.parametrize(
    ("widths", "options", "message"),
    [
        ([5, 2, 1], {}, "at most 4 inputs and 4 outputs; this one has 5 and 1"),
        ([2, 2, 5], {}, "at most 4 inputs and 4 outputs; this one has 2 and 5"),
        ([1, 2, 1], {"main": True}, "2 or 3 inputs and 1 or 3 outputs; this one has 1 and 1"),
        ([2, 2, 2], {"main": True}, "this one has 2 and 2"),
        ([2, 200, 200, 1], {}, r"of \d{3},\d{3} bytes: at most 262,144 are written"),
        ([2, 1], {"name": "a b"}, "name 'a b' cannot be"),
        ([2, 1], {"name": "p"}, "name 'p' cannot be"),
        ([2, 1], {"name": "two__underscores"}, "cannot be"),
        ([2, 1], {"name": "mix"}, "name 'mix' cannot be"),
    ],
)
def test_what_is_refused(source, widths, options, message):
    with pytest.raises(UserError, match=message):
        source(lowered(Siren(widths)), **options)


def test_arrays_are_refused_earlier():
    program = lowered(KAN([2, 12, 12, 1], BSpline(80, 3)))
    with pytest.raises(UserError, match="bytes in arrays: at most 98,304 are written"):
        glsl_source(program)


def test_a_name_of_ones_own():
    program = lowered(Siren([2, 3, 1]))
    assert "float camera_man(vec2 p)" in glsl_source(program, "camera_man", main=True)
    assert "fn camera_man(p:vec2f)->f32" in wgsl_source(program, "camera_man", main=True)


def test_a_layer_of_sines_is_a_matrix_times_a_sine():
    text = glsl_source(lowered(Siren([2, 4, 4, 4])))
    assert text.count("mat4(") == 2
    assert text.count("sin(30.*") == 2


def test_numbers_are_short():
    given = [0.0, -0.0, 1.0, -2.5, 0.125, -0.25, 1e-20, 1 / 3]
    expected = ["0", "0", "1", "-2.5", ".125", "-.25", "1e-20", ".33333334"]
    assert [literal(value) for value in given] == expected
    assert literal(1 / 3, digits=4) == ".3333"
    assert [in_formula(value) for value in (2.0, -1.0, 0.5)] == ["2.", "(-1.)", ".5"]
    with pytest.raises(UserError, match="beyond float32"):
        literal(1e39)


def test_brackets_within_brackets_are_left_out():
    assert tidied("sin((a+b))*((c))+((a)*(b))") == "sin(a+b)*(c)+((a)*(b))"
    assert tidied("f((a),(b))") == "f((a),(b))"


@pytest.mark.parametrize("order", range(1, 6))
@pytest.mark.parametrize("intervals", [4, 5])
def test_splines_as_functions_of_x(order, intervals):
    basis = BSpline(intervals, order, (-0.5, 1.5))
    weights = np.random.default_rng(0).normal(size=(2, basis.n_functions, 3))
    model = KAN([2, 3], basis, base=None)
    (term,) = lowered(model).stages[0].terms
    found = as_combination(replace(term, weights=weights))
    x = np.random.default_rng(1).uniform(-3, 3, (200, 2))
    a, b = (
        evaluate(Program(2, (Sum((t,), np.zeros(3)),)), x)
        for t in (replace(term, weights=weights), found)
    )
    np.testing.assert_allclose(a, b, atol=1e-12)
