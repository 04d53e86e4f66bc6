"""Models of pykan and efficient-kan give here what they gave there; other files are refused."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from tinygrad import Tensor, dtypes
from tinygrad.nn.state import safe_save

from tests.helpers import ROOT, float64, limited, mutated, needs_float64, some, spline_bases
from tinykan import Network, UserError, load, parameter_count, save
from tinykan.interop import from_efficient_kan, from_pykan

GOLDEN = ROOT / "tests" / "golden"
LOADERS: dict[str, Callable[[], Network]] = {
    "pykan trained": lambda: from_pykan(GOLDEN / "pykan_trained"),
    "pykan masked": lambda: from_pykan(GOLDEN / "pykan_masked"),
    "pykan pruned": lambda: from_pykan(GOLDEN / "pykan_pruned"),
    "pykan symbolic": lambda: from_pykan(GOLDEN / "pykan_symbolic"),
    "pykan multiplication": lambda: from_pykan(GOLDEN / "pykan_multiplication"),
    "pykan products": lambda: from_pykan(GOLDEN / "pykan_products"),
    "pykan float32": lambda: from_pykan(GOLDEN / "pykan_float32"),
    "efficient scaled": lambda: from_efficient_kan(GOLDEN / "efficient_scaled.pth"),
    "efficient unscaled": lambda: from_efficient_kan(GOLDEN / "efficient_unscaled.pth"),
    "efficient float32": lambda: from_efficient_kan(GOLDEN / "efficient_float32.pth"),
}
SHORT = "pykan masked, pykan symbolic, pykan products, pykan float32, efficient unscaled"


def outputs(model: Network, x: np.ndarray) -> np.ndarray:
    return model(Tensor(x, dtype=dtypes.default_float)).numpy()


def expected(golden, name: str) -> tuple[np.ndarray, np.ndarray]:
    library, case = name.split()
    data = golden({"pykan": "pykan_checkpoints", "efficient": "efficient_kan"}[library])
    return data[f"{case}/x"], data[f"{case}/y"]


@needs_float64
@pytest.mark.parametrize("name", [name for name in LOADERS if "float32" not in name])
def test_outputs_are_those_of_the_library_in_float64(golden, name):
    x, y = expected(golden, name)
    with float64():
        model = LOADERS[name]()
        # Up to 12, and sums of some ten terms each: 100 roundings.
        np.testing.assert_allclose(outputs(model, x), y, rtol=0, atol=2e-13 * np.abs(y).max())
    if name == "pykan symbolic":
        functions = [layer.functions for layer in model.layers]
        assert functions == [[(0, 1, "sin")], [(1, 0, "x^2")]]
        return
    basis = model.layers[0].on_basis.basis
    knots = basis.knots.numpy()
    low, high = knots[:, basis.order], knots[:, -1 - basis.order]
    assert 0.1 < ((x < low) | (x > high)).mean() < 0.9  # of these inputs some are outside
    assert np.ptp(low) > 0.01  # and grids differ from input to input


@pytest.mark.parametrize("name", some(LOADERS, SHORT))
def test_outputs_are_those_of_the_library_in_float32(golden, name):
    x, y = expected(golden, name)
    # One rounding of x, up to 4, times the slopes of two or three layers.
    np.testing.assert_allclose(outputs(LOADERS[name](), x), y, atol=2e-6 * np.abs(y).max())


@pytest.mark.parametrize("name", some(LOADERS, SHORT))
def test_save_and_load_keep_the_outputs(golden, tmp_path, name):
    model, (x, _) = LOADERS[name](), expected(golden, name)
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(outputs(again, x), outputs(model, x))
    assert repr(again) == repr(model)


def test_structures_are_those_of_the_library():
    trained, masked = LOADERS["pykan trained"](), LOADERS["pykan masked"]()
    assert (trained.widths, masked.widths) == ([2, 5, 1], [3, 4, 2, 1])
    assert parameter_count(trained) == 15 * (8 + 2) + 6  # splines, two weights; biases
    assert [layer.base for layer in masked.layers] == ["identity"] * 3
    assert LOADERS["pykan float32"]().layers[0].base is None
    assert trained.layers[0].mask is None
    found = masked.layers[0].mask.numpy()
    assert found.tolist() == [[0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert LOADERS["pykan pruned"]().widths == [2, 3, 1]
    assert parameter_count(LOADERS["efficient scaled"]()) == 24 * (8 + 2)
    assert parameter_count(LOADERS["efficient unscaled"]()) == 24 * (6 + 1)


def random_state(seed: int, order: int, intervals: int, widths: list[int]) -> dict:
    rng, state = np.random.default_rng(seed), {}
    for index, (i, o) in enumerate(pairwise(widths)):
        steps = rng.uniform(0.1, 1, (i, intervals + 2 * order + 1))
        state[f"layers.{index}.grid"] = steps.cumsum(1) - steps.sum(1, keepdims=True) / 2
        state[f"layers.{index}.base_weight"] = rng.normal(size=(o, i))
        state[f"layers.{index}.spline_weight"] = rng.normal(size=(o, i, intervals + order))
        state[f"layers.{index}.spline_scaler"] = rng.normal(size=(o, i))
    return state


def with_scipy(state: dict, x: np.ndarray) -> np.ndarray:
    """The network of efficient-kan's state, spline by spline."""
    for index in range(len(state) // 4):
        grid, base, weight, scaler = (
            state[f"layers.{index}.{name}"]
            for name in ("grid", "base_weight", "spline_weight", "spline_scaler")
        )
        order, y = grid.shape[1] - 1 - weight.shape[2], (x * expit(x)) @ base.T
        for o, i in np.ndindex(scaler.shape):
            y[:, o] += scaler[o, i] * spline_bases(x[:, i], grid[i], order) @ weight[o, i]
        x = y
    return x


@needs_float64
@settings(max_examples=settings.default.max_examples // 4)
@given(st.integers(0, 99), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3))
def test_any_order_and_grid_match_scipy(seed, order, intervals, width):
    state = random_state(seed, order, intervals, [2, width])
    x = np.random.default_rng(seed).uniform(-4, 4, (12, 2))
    with float64():
        found = outputs(from_efficient_kan(state), x)
    # Sums of up to 30 terms of size 1, by another recursion.
    np.testing.assert_allclose(found, with_scipy(state, x), atol=1e-12)


def test_every_source_of_a_state_dict_gives_the_same(tmp_path):
    state = random_state(0, 3, 4, [2, 3, 1])
    x = np.random.default_rng(0).uniform(-3, 3, (9, 2))
    single = {name: array.astype(np.float32) for name, array in state.items()}
    tensors = {name: Tensor(array) for name, array in single.items()}
    safe_save(tensors, str(tmp_path / "state.safetensors"))
    y = outputs(from_efficient_kan(state), x)
    np.testing.assert_allclose(y, with_scipy(state, x), atol=2e-6 * np.abs(y).max())
    for source in (single, tensors, tmp_path / "state.safetensors"):
        np.testing.assert_array_equal(outputs(from_efficient_kan(source), x), y)
    assert np.abs(outputs(from_efficient_kan(state, base="gelu"), x) - y).max() > 0.01


# Errors.


def refused(load: Callable, source: object) -> str:
    with limited(10), pytest.raises(UserError) as error:
        load(source)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    return str(error.value)


def test_a_missing_configuration_is_named():
    message = "pykan_missing_config.yml: no such file"
    assert message in refused(from_pykan, GOLDEN / "pykan_missing")


def test_products_are_those_of_the_library():
    one, other = LOADERS["pykan multiplication"](), LOADERS["pykan products"]()
    assert one.widths == [2, 4, 3, 1] and one.layers[1].groups == [[0], [1], [2, 3]]
    assert other.widths == [2, 6, 3, 2, 1]
    assert [layer.groups for layer in other.layers[1::2]] == [[[0], [1, 2], [3, 4, 5]], [[0, 1]]]
    assert other.layers[0].functions == [(1, 2, "sin")]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("multiplication", "mult_arity: 2", "mult_arity: 4"),
        ("multiplication", "mult_arity: 2", "mult_arity:\n- - 2\n- - 3\n- []"),
        ("products", "- []\n- - 2\n  - 3", "- []\n- - 3\n  - 3"),
    ],
)
def test_other_numbers_of_factors_are_one_line(tmp_path, name, old, new):
    message = refused(from_pykan, copied(tmp_path, name, old, new))
    assert "layer 0 has" in message and "of what products?" in message


def test_a_configuration_without_numbers_of_factors_is_one_line(tmp_path):
    path = copied(tmp_path, "multiplication", "mult_arity: 2", "mult_arity: two")
    assert "mult_arity two: a whole number" in refused(from_pykan, path)


def copied(folder: Path, name: str, old: str = "", new: str = "") -> Path:
    """A checkpoint of pykan's, its configuration changed."""
    text = (GOLDEN / f"pykan_{name}_config.yml").read_text()
    assert old in text
    (folder / "model_config.yml").write_text(text.replace(old, new))
    shutil.copy(GOLDEN / f"pykan_{name}_state", folder / "model_state")
    return folder / "model"


def test_symbolic_edges_that_pykan_does_not_use_are_none(golden, tmp_path):
    model = from_pykan(
        copied(tmp_path, "symbolic", "symbolic_enabled: true", "symbolic_enabled: false")
    )
    data = golden("pykan_checkpoints")
    y = data["symbolic/y_without"]
    found = outputs(model, data["symbolic/x"])
    np.testing.assert_allclose(found, y, atol=2e-6 * np.abs(y).max())
    assert np.abs(y - data["symbolic/y"]).max() > 0.1


def test_a_cosine_is_a_sine(golden, tmp_path):
    path = copied(tmp_path, "symbolic", "sin", "cos")
    moved = (
        from_pykan(path).layers[0].affine.numpy()
        - from_pykan(GOLDEN / "pykan_symbolic").layers[0].affine.numpy()
    )
    np.testing.assert_allclose(moved, [[0, np.pi / 2, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (": silu", ": 'silu'", None),
        (": silu", ": cosh", "unknown base function 'cosh'; choose from silu, identity, zero"),
        (": silu", ": !!python/name:kan.%3Clambda%3E", "unknown base function"),
        ("base_fun_name: silu", "", "no base_fun_name: not a file of pykan 0.2.8's"),
        ("enabled: true", "enabled: 1", "unknown symbolic_enabled '1'; choose from true, false"),
    ],
)
def test_a_configuration_is_read_or_refused(tmp_path, old, new, message):
    path = copied(tmp_path, "trained", old, new)
    if message is None:
        assert from_pykan(path).layers[0].base == "silu"
    else:
        assert message in refused(from_pykan, path)


def test_a_missing_state_is_named(tmp_path):
    path = copied(tmp_path, "trained")
    (tmp_path / "model_state").unlink()
    assert refused(from_pykan, path) == f"{path}_state: no such file"


def changed_state(name: str, value: object) -> dict:
    return random_state(0, 3, 4, [2, 3, 1]) | {name: value}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "it has no layers.0.spline_weight"),
        (changed_state("layers.0.grid", np.ones((2, 11))), "do not increase"),
        (changed_state("layers.0.grid", np.ones((3, 11))), "(3, 11); it should have (2, any)"),
        (changed_state("layers.0.grid", np.ones((2, 14))), "order 6 on 1 intervals; orders 1 to 5"),
        (changed_state("layers.0.grid", np.ones((2, 8))), "orders 1 to 5"),
        (changed_state("layers.0.grid", np.full((2, 11), np.nan)), "do not increase"),
        (changed_state("layers.0.spline_weight", np.ones(3)), "should have (any, any, any)"),
        (changed_state("layers.1.base_weight", np.ones((1, 2))), "it should have (1, 3)"),
        (changed_state("layers.3.grid", np.ones((1, 2))), "unknown layers.3.grid"),
        (changed_state("biases.0", np.ones((1, 2))), "unknown biases.0"),
        (changed_state("layers.0.grid", np.ones((2, 11), int)), "layers.0.grid is not an array"),
        (changed_state("layers.0.grid", {"a": 1}), "layers.0.grid is not an array"),
        ({3: np.ones(2)}, "3 is not an array"),
        (
            {k: v for k, v in changed_state("a", 0).items() if k != "a" and "1.spl" not in k},
            "no layers.1.spline_weight",
        ),
    ],
)
def test_a_state_that_is_no_networks_is_one_line(state, message):
    assert message in refused(from_efficient_kan, state)


def test_layers_that_do_not_follow_each_other_are_one_line():
    state = random_state(0, 2, 3, [2, 3])
    other = random_state(0, 2, 3, [2, 2])
    state |= {name.replace(".0.", ".1."): array for name, array in other.items()}
    assert "gives 3 features" in refused(from_efficient_kan, state)


def zipped(pickled: bytes, data: bytes = b"", compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file as torch.save lays it out."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", data)
    return content.getvalue()


def tensor(offset: int, size: str, stride: str, storage: str = "FloatStorage") -> bytes:
    """A state_dict in pickle's text protocol, with one tensor."""
    return f"""(dS'layers.0.grid'
ctorch._utils
_rebuild_tensor_v2
((S'storage'
ctorch
{storage}
S'0'
S'cpu'
I4
tQI{offset}
{size}{stride}I00
NtRs.""".encode()


TWO_BY_TWO, ROWS = "(I2\nI2\nt", "(I2\nI1\nt"


def test_a_tensor_within_its_storage_is_read_and_others_are_not(tmp_path):
    path, numbers = tmp_path / "state.pth", np.arange(4, dtype="<f4").tobytes()
    for pickled, message in [
        (tensor(0, TWO_BY_TWO, ROWS), "no layers.0.spline_weight"),  # so the tensor was read
        (tensor(1, TWO_BY_TWO, ROWS), "not within its storage"),
        (tensor(-1, TWO_BY_TWO, ROWS), "not within its storage"),
        (tensor(0, TWO_BY_TWO, "(I3\nI1\nt"), "not within its storage"),
        (tensor(0, "(I100000\nI100000\nt", "(I0\nI0\nt"), "not within its storage"),
        (tensor(0, TWO_BY_TWO, "(I2\nt"), "not a state_dict"),
        (tensor(0, TWO_BY_TWO, ROWS, "LongStorage"), "it holds torch.LongStorage"),
        (b"(dS'a'\n(S'storage'\nS'O'\nS'0'\ntQs.", "tensors without a type"),
        (b"\x80\x02K\x01r\xff\xff\xff\x7f.", "it has an object of index 2147483647"),
        (b"(lp0\n.", "it holds a list, not a state_dict"),
        (b"(dS'state_dict'\n(ds.", "state_dict is not an array"),
    ]:
        path.write_bytes(zipped(pickled, numbers))
        assert message in refused(from_efficient_kan, path)
    path.write_bytes(zipped(tensor(0, TWO_BY_TWO, ROWS), numbers, zipfile.ZIP_DEFLATED))
    assert "compressed" in refused(from_efficient_kan, path)


@pytest.mark.parametrize("layout", ["zip", "bare"])
@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(S'{command}'\ntR.",
        b"cbuiltins\nexec\n(S'import os; os.system(\"{command}\")'\ntR.",
        # NumPy is on the list of modules that tinygrad's own reader lets through.
        b"cnumpy.testing._private.utils\nrunstring\n(S'import os; os.system(\"{command}\")'\n(dtR.",
        b"\x80\x04\x8c\x0bcollections\x8c\x10_sys.modules.get\x93.",
    ],
)
def test_nothing_in_a_file_is_executed(tmp_path, call, layout):
    proof = tmp_path / "executed"
    pickled = call.replace(b"{command}", f"touch {proof}".encode())
    path = copied(tmp_path, "trained")
    content = zipped(pickled) if layout == "zip" else pickled
    (tmp_path / "model_state").write_bytes(content)
    message = refused(from_pykan, path)
    assert ("a state_dict holds tensors only" if layout == "zip" else "not a file of") in message
    refused(from_efficient_kan, tmp_path / "model_state")
    assert not proof.exists()


def test_files_of_other_kinds_are_one_line(tmp_path):
    path = tmp_path / "state.pth"
    content = (GOLDEN / "efficient_scaled.pth").read_bytes()
    for data in (b"", b"text", content[:-100], content[:50], b"\xff" * 99, os.urandom(2000)):
        path.write_bytes(data)
        refused(from_efficient_kan, path)
    for other in (tmp_path, tmp_path / "missing"):
        assert "no such file" in refused(from_efficient_kan, other)
    for foreign in ("pykan_checkpoints.npz", "pykan_trained_state"):
        refused(from_efficient_kan, GOLDEN / foreign)


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_mutated_files_are_read_or_refused_in_one_line(tmp_path, kind):
    path, rng = tmp_path / "state", np.random.default_rng(0)
    content = (GOLDEN / "efficient_unscaled.pth").read_bytes()
    if kind == "safetensors":
        state = random_state(0, 2, 2, [1, 1])
        safe_save({name: Tensor(array) for name, array in state.items()}, str(path))
        content = path.read_bytes()
    for _ in range(150):
        path.write_bytes(mutated(content, rng))
        with limited(10):
            try:
                from_efficient_kan(path)
            except UserError as error:
                assert "\n" not in str(error)
