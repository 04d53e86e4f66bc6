"""What users hold as arrays: the same numbers, or one line."""

from __future__ import annotations

import numpy as np
import pytest
from tinygrad import Tensor

from tinykan import UserError
from tinykan.tasks.arrays import as_rows, as_targets, in_float32


class Frame:
    """A table as pandas has it, as far as it matters here."""

    def __init__(self, values, columns):
        self.values, self.columns = np.asarray(values), columns

    def to_numpy(self):
        return self.values


class Torch:
    """A tensor as PyTorch has it: with a gradient, and not on this machine."""

    def __init__(self, values, ready=False):
        self.values, self.ready = values, ready

    def detach(self):
        return Torch(self.values, self.ready)

    def cpu(self):
        return Torch(self.values, True)

    def numpy(self):
        assert self.ready
        return np.asarray(self.values)


ROWS = [[1.0, -2.0], [3.0, 0.5], [0.0, 4.0]]


@pytest.mark.parametrize(
    "values",
    [
        ROWS,
        tuple(map(tuple, ROWS)),
        np.array(ROWS),
        np.asfortranarray(ROWS),
        np.array(ROWS)[::-1][::-1],
        np.array(ROWS, dtype=np.float32),
        np.array(ROWS, dtype=np.float16),
        np.array(ROWS, dtype=np.longdouble),
        np.array(ROWS, dtype=">f8"),
        np.array(ROWS, dtype=object),
        np.ma.array(ROWS),
        Frame(ROWS, ["a", "b"]),
        Torch(ROWS),
        Tensor(ROWS),
    ],
    ids=lambda values: f"{type(values).__name__}-{getattr(values, 'dtype', '')}",
)
def test_arrays_of_every_kind_are_the_same_numbers(values):
    found = as_rows(values, 2)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, ROWS)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
def test_integers_of_every_type_are_numbers(kind):
    np.testing.assert_array_equal(as_rows(np.array([0, 1, 1], dtype=kind)), [[0.0], [1], [1]])


@pytest.mark.parametrize(
    ("values", "features", "shape"),
    [
        (np.zeros(5), 1, (5, 1)),
        (np.zeros(5), None, (5, 1)),
        (np.zeros(2), 2, (1, 2)),
        (np.zeros(1), 1, (1, 1)),
        (np.zeros((1, 3)), 3, (1, 3)),
        (np.zeros((4, 3)), None, (4, 3)),
    ],
)
def test_one_dimension_is_a_column_or_a_row(values, features, shape):
    assert as_rows(values, features).shape == shape


@pytest.mark.parametrize(
    ("values", "features", "message"),
    [
        (np.zeros((5, 1)), 2, r"inputs of shape \(5, 1\): the last dimension must be 2"),
        (np.zeros((2, 5)), 5 - 1, r"\(2, 5\): the last dimension must be 4"),
        (np.zeros(5), 2, r"\(5,\): \[n, 2\] is needed"),
        (np.zeros((2, 2, 2)), 2, r"\(2, 2, 2\): \[n, 2\] is needed"),
        (np.float64(3), None, r"\(\): \[n, features\]"),
        (np.zeros((0, 2)), 2, r"\(0, 2\): there must be"),
        (np.zeros((2, 0)), None, r"\(2, 0\): there must be"),
        ([[1, 2], [3]], 2, "cannot be made an array"),
        ([["1", "2"]], 2, "only real numbers"),
        (np.array([["a", 2]], dtype=object), 2, "hold 'a' in row 0"),
        (np.array([[1j, 2]]), 2, "complex128"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), 1, "datetime64"),
        ([[1, None]], 2, "nan in row 0, column 1"),
        (Frame([[0.0, 1.0], [2.0, np.nan]], ["mass", "speed"]), 2, "row 1, column 'speed'"),
        ([[1.0], [np.inf]], 1, "inf in row 1"),
        ([[1.0], [1e39]], 1, "within the range of float32"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), 1, "masked in row 1"),
        ("abc", 1, "only real numbers|needed"),
        (None, 1, "needed|numbers"),
        ({"a": 1}, 1, "needed|numbers"),
    ],
)
def test_what_is_no_array_of_rows_is_one_line(values, features, message):
    with pytest.raises(UserError, match=message) as error:
        as_rows(values, features)
    assert "\n" not in str(error.value)


def test_integers_in_one_column_are_labels():
    for values in ([0, 2, 1], np.array([[0], [2], [1]], dtype=np.uint8)):
        labels = as_targets(values)
        assert labels.dtype == np.int64 and labels.tolist() == [0, 2, 1]
    assert as_targets([0.0, 2.0]).shape == (2, 1)
    assert as_targets([[0, 1], [1, 0]]).dtype == np.float64
    assert as_targets([2**40]).dtype == np.float64


@pytest.mark.parametrize("exponent", range(-12, 13))
def test_numbers_of_any_scale_are_kept(exponent):
    x = 10.0**exponent * np.linspace(-1, 1, 7)[:, None]
    np.testing.assert_allclose(in_float32(x, name="inputs"), x, rtol=1e-7)


@pytest.mark.parametrize("values", [[1e9, 1e9 + 1], [1e-50, 2e-50]])
def test_numbers_that_float32_cannot_tell_apart_are_refused(values):
    with pytest.raises(UserError, match=r"column 0 of the targets.*all the same in float32"):
        in_float32(np.array(values)[:, None], name="targets")
