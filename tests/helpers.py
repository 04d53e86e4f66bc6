"""Shared by the tests: references in NumPy and SciPy, float64, and damaged files."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import BSpline as SciPyBSpline
from tinygrad import Context, Tensor, dtypes

import tinykan  # selects the device before any tensor is made
from tinykan import BSpline, KANLayer
from tinykan.fitting.lbfgs import has_float64
from tinykan.kernels.tinygrad_versions import FROM_0_14

ROOT = Path(__file__).parents[1]

# One of each kind whose functions are all non-zero.
DENSE_BASES = [
    tinykan.Polynomial(3),
    tinykan.RBF(4),
    tinykan.Chebyshev(4),
    tinykan.Fourier(2),
    tinykan.Wavelet(2),
]


def some(names: Iterable[str], of_default: str) -> list[Any]:
    """Parameters of a test: all `names`, but those that are not in `of_default` (a text with
    commas) only where long tests run."""
    short = of_default.split(", ")
    assert set(short) <= set(names)
    return [name if name in short else pytest.param(name, marks=pytest.mark.long) for name in names]


def first(count: int, cases: Sequence[Any]) -> list[Any]:
    """Parameters of a test: the first `count` of its `cases`, values or tuples of such, and the
    others only where long tests run."""
    others = (case if isinstance(case, tuple) else (case,) for case in cases[count:])
    return [*cases[:count], *(pytest.param(*case, marks=pytest.mark.long) for case in others)]


needs_float64 = pytest.mark.skipif(not has_float64(), reason="the device has no float64")


def double(values: object) -> Tensor:
    return Tensor(np.asarray(values, dtype=np.float64), dtype=dtypes.float64)


@contextmanager
def float64() -> Iterator[None]:
    """Models made within it are in float64."""
    if FROM_0_14:
        with Context(DEFAULT_FLOAT="FLOAT64"):
            yield
        return
    before, dtypes.default_float = dtypes.default_float, dtypes.float64
    try:
        yield
    finally:
        dtypes.default_float = before


def uniform_knots(intervals: int, order: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    spacing = (high - low) / intervals
    return low + spacing * np.arange(-order, intervals + order + 1)


def spline_bases(x: np.ndarray, knots: np.ndarray, order: int, derivative: int = 0) -> np.ndarray:
    """B-splines on `knots` at `x`, or their derivatives, by SciPy: each basis element on its own
    knots, zero elsewhere, `[..., functions]`."""
    columns = []
    for n in range(len(knots) - order - 1):
        element = SciPyBSpline.basis_element(knots[n : n + order + 2], extrapolate=False)
        columns.append(
            np.nan_to_num(element.derivative(derivative)(x) if derivative else element(x))
        )
    return np.stack(columns, axis=-1)


def central_difference(function: Callable, x: Any, step: Any = 1e-5) -> Any:
    """The slope of an elementwise function at `x`, 0 where the step h is 0. It is off by h^2 / 6
    of the third derivative, and by 1e-16 / h of the value (in float64)."""
    return (function(x + step) - function(x - step)) / np.where(np.equal(step, 0), 1, 2 * step)


def numeric_gradient(
    function: Callable[[np.ndarray], float], x: np.ndarray, positions: Iterable[int] | None = None
) -> np.ndarray:
    """The gradient of a function of an array by central differences, at the given positions in the
    flattened array (default: all)."""
    units = np.eye(x.size).reshape(-1, *x.shape)
    places = range(x.size) if positions is None else positions
    return np.array(
        [central_difference(lambda t, u=units[p]: function(x + t * u), 0.0) for p in places]
    )


def pykan_layer(grid, coef, scale_base, scale_sp, mask) -> KANLayer:
    """pykan's tensors in our layer: coefficients are [in, out, functions] there, and masked."""
    order = 3
    basis = BSpline(grid.shape[1] - 2 * order - 1, order, knots=double(grid))
    layer = KANLayer(grid.shape[0], coef.shape[1], basis, bias=False, mask=mask)
    layer.coefficients = double(coef.transpose(0, 2, 1))
    layer.spline_weight, layer.base_weight = double(scale_sp), double(scale_base)
    return layer


# A number in scientific notation is an error or a loss, unless it is a coefficient: beside an
# operator or a bracket.
_ERROR = r"(?<![\w.+*/^(-])(?<![-+*/] )\d(?:\.\d+)?e[+-]\d+(?!\w|\.\d| ?[-+*/^])"
_PERCENTAGE = r"(?<![\w.])\d+(?:\.\d+)?%"


def assert_same_output(printed: str, expected: str) -> None:
    """Compares what a program prints with what a document says it prints, by the shape of each
    number: errors and losses (in scientific notation) within a factor of 2, percentages within a
    point, and everything else exactly: words, counts, exponents, the printed digits of decimals
    and of the coefficients of formulas."""
    numbers = re.compile(f"{_ERROR}|{_PERCENTAGE}")

    def shape(text: str) -> list[str]:
        text = numbers.sub(lambda n: "<percentage>" if n[0].endswith("%") else "<error>", text)
        return [line.rstrip() for line in text.strip("\n").split("\n")]

    assert shape(printed) == shape(expected)
    for ours, theirs in zip(numbers.findall(printed), numbers.findall(expected), strict=True):
        if ours.endswith("%"):
            # Printed decimals have no exact difference in binary: a margin of 1e-9.
            close = abs(float(ours[:-1]) - float(theirs[:-1])) <= 1 + 1e-9
        else:
            low, high = sorted((float(ours), float(theirs)))
            close = high <= 2 * low
        assert close, f"{ours} for {theirs} in {expected!r}"


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Fails if the block hangs, even inside a decoder."""

    def late(*_: object) -> None:
        raise AssertionError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, cut out, doubled or put in, mostly near the start, where headers are."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        where = int(len(changed) * rng.uniform() ** rng.integers(1, 5))
        length = int(rng.integers(1, 16))
        match rng.integers(5):
            case 0:
                changed[where : where + length] = rng.bytes(length)
            case 1:
                del changed[where : where + length]
            case 2:
                changed[where:where] = changed[where : where + length]
            case 3:
                changed[where : where + 4] = rng.choice(
                    [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"]
                )
            case 4:
                del changed[where + length :]
    return bytes(changed)
