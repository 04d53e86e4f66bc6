"""Bad input as a property: whatever a file or an argument holds, it is served or refused in one
line. Ten thousand mutated images are long; a hundred of them run by default."""

from __future__ import annotations

import io
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tinygrad import Tensor, dtypes

from scripts.fit_image import Config
from tests.helpers import limited, mutated
from tinykan import (
    KAN,
    RBF,
    BSpline,
    Chebyshev,
    Fourier,
    KANLayer,
    Polynomial,
    UserError,
    Wavelet,
    batches,
    fit,
)
from tinykan.runs.command_line import parse
from tinykan.tasks.images import load_image

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F")


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    """A small image in every format that Pillow both writes and reads, in each mode it takes."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of a format
    Image.init()
    rng, found = np.random.default_rng(0), []
    noise = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    for form in sorted(set(Image.SAVE) & set(Image.OPEN)):
        for mode in MODES:
            buffer = io.BytesIO()
            try:
                noise.convert(mode).save(buffer, form)
                Image.open(io.BytesIO(buffer.getvalue())).load()
            except Exception:
                continue  # not a combination that Pillow writes
            found.append(buffer.getvalue())
    assert len(found) > 40
    return found


@pytest.mark.parametrize("cases", [100, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutated_images_are_read_or_refused_in_one_line(tmp_path, originals, cases):
    rng, path, refused = np.random.default_rng(cases), tmp_path / "image", 0
    for _ in range(cases):
        path.write_bytes(mutated(originals[rng.integers(len(originals))], rng))
        with limited(5), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about damage that it got over
            try:
                image = load_image(path, size=16, color=bool(rng.integers(2)))
                assert image.ndim == 3 and max(image.shape[:2]) == 16
                assert np.abs(image).max() <= 1
            except UserError as error:
                refused += 1
                assert str(error).startswith(str(path)) and "\n" not in str(error)
    assert 0 < refused < cases


arguments = st.lists(
    st.one_of(
        st.sampled_from(
            ["--steps", "--lr", "--model", "--seed", "--out", "--resume", "--basis", "camera.png"]
        ),
        st.sampled_from(["0", "-1", "1e400", "nan", "siren", "", "--", "\0", "9" * 30, "é"]),
        st.text(max_size=6),
    ),
    max_size=6,
)


@given(arguments)
def test_command_lines_are_parsed_or_refused_in_one_line(arguments):
    stderr, sys.stderr = sys.stderr, io.StringIO()
    stdout, sys.stdout = sys.stdout, io.StringIO()
    try:
        assert isinstance(parse(Config, arguments), Config)
    except SystemExit as end:
        lines = sys.stderr.getvalue()
        assert end.code == 0 or (end.code == 2 and lines.count("\n") == 1 and lines[:-1].strip())
    finally:
        sys.stderr, sys.stdout = stderr, stdout


odd = st.one_of(
    st.integers(-2, 3),
    st.floats(allow_nan=True),
    st.none(),
    st.text(max_size=3),
    st.booleans(),
    st.lists(st.integers(-1, 2), max_size=2),
)


@given(odd, odd)
def test_bases_and_layers_refuse_odd_arguments_in_one_line(first, second):
    for make in (
        lambda: BSpline(first, second),
        lambda: BSpline(3, 3, (first, second)),
        lambda: Polynomial(first),
        lambda: RBF(first, second),
        lambda: Chebyshev(first),
        lambda: Fourier(first, second),
        lambda: Wavelet(first, second),
        lambda: KANLayer(first, second),
        lambda: KANLayer(2, 2, base=first, initializer=second),
    ):
        try:
            made = make()
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert repr(made)


@pytest.mark.parametrize(
    "x",
    [
        Tensor.ones(3, 3),
        Tensor.ones(2, dtype=dtypes.int32),
        Tensor(1.0),
        Tensor.ones(0),
        Tensor.ones(4, 2, dtype=dtypes.bool),
    ],
    ids=lambda x: f"{x.shape}-{x.dtype.name}",
)
def test_wrong_inputs_are_refused_in_one_line(x):
    with pytest.raises(UserError) as error:
        KAN([2, 3, 1])(x)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("where", ["inputs", "targets"])
def test_nan_in_the_data_is_named(where):
    x = np.ones((8, 2), dtype=np.float32)
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(UserError, match=f"{where}.*row 3") as error:
        batches(*((bad, x) if where == "inputs" else (x, bad)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["steps", "learning_rate", "warmup", "log_every"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_fit_refuses_odd_options_in_one_line(option, value):
    if (option, value) == ("warmup", 0):
        return
    x = np.ones((8, 1), dtype=np.float32)
    with pytest.raises(UserError) as error:
        fit(KAN([1, 1]), batches(x, x), progress=False, **{"steps": 3, option: value})
    assert "\n" not in str(error.value)
