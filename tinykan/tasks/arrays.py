"""Arrays of any kind that users hold, as arrays `[n, features]` of finite numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinykan.errors import UserError

LARGEST = float(np.finfo(np.float32).max)


def as_rows(values: Any, features: int | None = None, *, name: str = "inputs") -> np.ndarray:
    """`values` as float64 `[n, features]`, at least one row.

    They may be NumPy arrays of any real type, lists, and whatever converts itself to an array:
    pandas, polars, PyTorch, tinygrad. A single dimension is `[n]` for one feature, and one row for
    several. `features` None takes any number of them. Raises UserError, which calls them `name`,
    for other shapes, types that are not numbers, and numbers that are missing, not finite or too
    large for float32.
    """
    array = _array(values, name)
    rows = array
    if array.ndim == 1:
        one_row = features is not None and features > 1 and len(array) == features
        rows = array[None] if one_row else array[:, None]
    if rows.ndim != 2 or (features is not None and rows.shape[1] != features):
        needed = f"[n, {'features' if features is None else features}] is needed"
        needed = f"the last dimension must be {features}" if array.ndim == 2 else needed
        raise UserError(f"{name} of shape {array.shape}: {needed}")
    if rows.size == 0:
        raise UserError(f"{name} of shape {array.shape}: there must be at least one row and column")
    rows = _numbers(rows, name)
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(rows) <= LARGEST)
    for row, column in np.argwhere(bad)[:1]:
        where = f"row {row}" + (f", column {_column(values, column)}" if rows.shape[1] > 1 else "")
        problem = "numbers must be finite, and within the range of float32"
        raise UserError(f"{name} hold {rows[row, column]} in {where}: {problem}")
    return rows


def as_targets(values: Any, *, name: str = "targets") -> np.ndarray:
    """The same, but a single column of integers stays one, as int64 `[n]`: class labels for a
    network of several outputs, values for one of one output."""
    array = _array(values, name)
    rows = as_rows(array, name=name)
    labels = rows.shape[1] == 1 and array.dtype.kind in "biu" and np.abs(rows).max() < 2**31
    return rows[:, 0].astype(np.int64) if labels else rows


def check_as_many(inputs: np.ndarray, targets: np.ndarray) -> None:
    """Raises UserError unless there are as many rows of both."""
    if len(inputs) != len(targets):
        raise UserError(f"{len(inputs)} inputs and {len(targets)} targets: both must be as many")


def in_float32(rows: np.ndarray, *, name: str) -> np.ndarray:
    """`rows` in float32. Raises UserError if that makes different numbers of a column all equal, as
    those of a large mean and a small spread, or of a tiny scale."""
    single = rows.astype(np.float32)
    lost = (np.ptp(rows, axis=0) > 0) & (np.ptp(single, axis=0) == 0)
    if lost.any():
        column = int(np.argmax(lost))
        low, high = rows[:, column].min(), rows[:, column].max()
        difference = f"are all the same in float32, from {low:.17g} to {high:.17g}"
        raise UserError(f"column {column} of the {name}: its numbers {difference}; scale them")
    return single


def _array(values: Any, name: str) -> np.ndarray:
    if values is None or isinstance(values, str | bytes | dict | set):
        raise UserError(f"{name} of type {type(values).__name__}: an array of numbers is needed")
    if hasattr(values, "detach"):  # a Tensor of PyTorch, or of tinygrad
        values = values.detach()
        values = values.cpu() if hasattr(values, "cpu") else values
    try:
        if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
            row = int(np.argwhere(np.ma.getmaskarray(values))[0][0])
            raise UserError(f"{name} are masked in row {row}: no number may be missing")
        for convert in ("numpy", "to_numpy"):
            if not isinstance(values, np.ndarray) and hasattr(values, convert):
                values = getattr(values, convert)()
        return np.asarray(values)
    except UserError:
        raise
    except Exception as error:  # whatever a foreign conversion raises
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{name} cannot be made an array of numbers ({reason})") from None


def _numbers(rows: np.ndarray, name: str) -> np.ndarray:
    """In float64, if they are real numbers."""
    if rows.dtype.kind in "biuf":
        return rows.astype(np.float64, order="C")  # sums depend on the order in memory
    if rows.dtype.kind == "O":
        for index, value in np.ndenumerate(rows):
            if isinstance(value, str | bytes | complex):
                raise UserError(f"{name} hold {value!r} in row {index[0]}: only numbers are taken")
        try:
            return rows.astype(np.float64, order="C")
        except (TypeError, ValueError, OverflowError):
            pass
    raise UserError(f"{name} of type {rows.dtype}: only real numbers are taken")


def _column(values: Any, column: int) -> str:
    """Its name in a table, else its number."""
    names = getattr(values, "columns", None)
    return str(column) if names is None else repr(str(list(names)[column]))
