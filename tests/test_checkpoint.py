"""A saved model is whole: loaded, it computes the same; damaged, it is refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tinygrad import Tensor

from tests.helpers import DENSE_BASES, limited, mutated
from tinykan import (
    KAN,
    MLP,
    RBF,
    BSpline,
    Chebyshev,
    CheckpointError,
    EdgeTanh,
    Fourier,
    Gaussian,
    KANLayer,
    Linear,
    Network,
    Polynomial,
    Sines,
    Siren,
    Wavelet,
    checkpoint,
    load,
    save,
)
from tinykan.checkpoint import load_training, pack, unpack

KNOTS = np.stack([np.linspace(-2, 2, 12), np.linspace(-3, 3, 12)])
MODELS = {
    "spline": lambda: KAN([2, 3, 1], BSpline(4, 2)),
    "mixed": lambda: KAN([2, 3, 1], [Polynomial(3), Linear()], activation="tanh", base="tanh"),
    "knots": lambda: Network([KANLayer(2, 3, BSpline(5, 3, knots=KNOTS)), KANLayer(3, 1)]),
    "gaussian": lambda: MLP([8, 3, 2], "relu", encoding=Gaussian(2, 4, seed=7)),
    "dense bases": lambda: KAN([2, 2, 2, 2, 2, 1], DENSE_BASES),
    "options": lambda: KAN(
        [2, 2, 2, 1], [RBF(3, (0.0, 1.0)), Fourier(2, 3.5), Wavelet(2, "morlet")], base=None
    ),
    "norm": lambda: KAN([2, 3, 3, 1], Chebyshev(2), activation="tanh", norm="layer"),
    "mask": lambda: Network([KANLayer(2, 2, mask=np.eye(2)), KANLayer(2, 1)]),
    "siren": lambda: Siren([2, 5, 1]),
    "edge tanh": lambda: Network([EdgeTanh(4, 3, 3), EdgeTanh(3, 1, 3)], encoding=Sines(2, 2)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_computes_the_same(tmp_path, name):
    model = MODELS[name]()
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    x = Tensor(np.random.default_rng(0).uniform(-1.5, 1.5, (9, 2)).astype(np.float32))
    np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())
    assert repr(again).replace("KAN(", "Network(") == repr(model)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_file_from_before_there_were_norms_has_none(tmp_path):
    path = tmp_path / "model.safetensors"
    save(KAN([2, 3, 1]), path)
    arrays, metadata = checkpoint.unpack(path.read_bytes())
    description = json.loads(metadata["tinykan"])
    assert description.pop("norm", "missing") is None
    path.write_bytes(checkpoint.pack(arrays, metadata | {"tinykan": json.dumps(description)}))
    assert load(path).norm is None


def test_a_file_with_an_option_by_its_former_name_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    model = KAN([2, 1], RBF(6))
    save(model, path)
    arrays, metadata = checkpoint.unpack(path.read_bytes())
    former = metadata["tinykan"].replace('"centers"', '"centres"')
    assert former != metadata["tinykan"]
    path.write_bytes(checkpoint.pack(arrays, metadata | {"tinykan": former}))
    assert load(path).layers[0].basis == RBF(6)


def test_damaged_and_foreign_files_are_one_line(tmp_path):
    from tinygrad.nn.state import safe_save

    whole = tmp_path / "whole.safetensors"
    save(KAN([2, 3, 1]), whole)
    content = whole.read_bytes()
    damaged = {
        "cut": content[:-200],
        "header only": content[:40],
        "empty": b"",
        "text": b"hello\nworld, this is no model",
        "huge header": b"\xff" * 8 + content[8:],
        "other kind": content.replace(b"KANLayer", b"KANLayes"),
        "newer": content.replace(b'\\"format\\": 2', b'\\"format\\": 9'),
    }
    safe_save({"weight": Tensor.ones(3)}, str(tmp_path / "foreign"))
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
    for name in (*damaged, "foreign", "missing"):
        with pytest.raises(CheckpointError) as error:
            load(tmp_path / name)
        assert "\n" not in str(error.value), name
        assert ("of format 9" in str(error.value)) == (name == "newer")


def test_no_byte_of_a_file_can_differ(tmp_path):
    path = tmp_path / "model.safetensors"
    save(MLP([1, 2, 1]), path)
    content = path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        with pytest.raises(CheckpointError):
            load(path)


@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_mutated_files_are_one_line_each(tmp_path, kind, count):
    path, model = tmp_path / "model.safetensors", KAN([2, 3, 1])
    training = {"m.0": np.ones(5, dtype=np.float32)} if kind == "checkpoint" else {}
    save(model, path, training=training, record={"step": 7})
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(count):
        while (changed := mutated(content, rng)) == content:
            pass  # zeros over zeros
        path.write_bytes(changed)
        with limited(5), pytest.raises(CheckpointError) as error:
            load_training(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.long)])
def test_mutated_descriptions_with_a_right_digest_are_read_or_one_line(tmp_path, count):
    path, rng = tmp_path / "model.safetensors", np.random.default_rng(0)
    save(KAN([2, 3, 1], encoding=Sines(1, 2)), path)
    arrays, metadata = unpack(path.read_bytes())
    for _ in range(count):
        text = mutated(metadata["tinykan"].encode(), rng).decode(errors="replace")
        path.write_bytes(pack(arrays, {**metadata, "tinykan": text}))
        try:
            with limited(5):
                load(path)
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save(MLP([2, 1]), path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(MLP([2, 3, 1]), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
