"""Tables of numbers in text files (CSV and its relatives): the inputs and the target of samples.

Python's csv module splits the rows; what it is not told, such as the separator, is found out from
the content. What a file does not say for certain is refused, not guessed.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinykan.errors import UserError, warn
from tinykan.tasks.delimited import (
    COMMA,
    POINT,
    SEPARATORS,
    Row,
    declared_separator,
    is_comment,
    lines_of,
    looks_numeric,
    rows_of,
    sniffed,
)
from tinykan.tasks.symbol_names import symbol_names

MISSING = frozenset(
    ("", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "nil", "none", "missing")
    + ("?", "-", "--", ".", "..", "1.#qnan")
)
SHOWN = 40  # characters of a cell in a message

# Groups of thousands: '1,234' may be a decimal as well, the others are not.
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_GROUPS = re.compile(r"[+-]?\d{1,3}(?:([.,'_ ])\d{3})(?:\1\d{3})*([.,]\d*)?", re.ASCII)


@dataclass(frozen=True)
class DataTable:
    """Samples of a function: inputs `x` `[n, in]` and targets `y` `[n, 1]` in float64, all finite,
    and their names, which are different identifiers that SymPy reads as symbols."""

    x: np.ndarray
    y: np.ndarray
    inputs: list[str]
    target: str


def read_table(path: str | Path, target: str | None = None) -> DataTable:
    """The samples in a text file: a row for each, the `target` in the column of that name (default:
    the last).

    Cells are separated by commas, semicolons, tabs, bars or blanks, and may be quoted. The file is
    UTF-8, or has a byte-order mark. Empty rows and lines that begin with # are skipped, but for a #
    line above the numbers that names the columns. If it has no names, they are x1, x2, ... and y.
    Decimal commas are read where the separator is not a comma. An index (a first column without a
    name, of different whole numbers) and constant inputs are dropped, and names that a formula
    cannot have are changed; each of these is said in one line on standard error.

    Raises UserError, which says where, for missing values, text, thousands separators, rows of
    different lengths, names that occur twice, a constant target, fewer than two columns or rows,
    and anything that is not such a file.
    """
    lines = lines_of(path)
    separator, lines = declared_separator(lines)
    if separator is None:
        separator = sniffed(lines)
    try:
        rows = list(rows_of(lines, separator))
    except csv.Error as error:
        raise UserError(f"{path}: not a readable table of numbers ({error})") from None
    if not rows:
        raise UserError(f"{path}: the file is empty")
    names, rows = _header(path, lines, separator, rows)
    names, rows = _without_index(path, names, _rectangular(path, names, rows, separator))
    chosen = _position(path, names, target)
    values = _numbers(path, names, rows, separator)
    safe = symbol_names(names)
    changed = [f"{_shown(a)} is {b}" for a, b in zip(names, safe, strict=True) if a != b]
    if changed:
        warn(f"{path}: names that formulas cannot have: {', '.join(changed)}")
    x, y = np.delete(values, chosen, axis=1), values[:, chosen : chosen + 1]
    inputs = safe[:chosen] + safe[chosen + 1 :]
    if len(values) < 2:
        raise UserError(f"{path}: {len(values)} row of numbers; at least 2 are needed")
    if (y == y[0]).all():
        raise UserError(
            f"{path}: the target {safe[chosen]} is {y[0, 0]:g} in every row; there is no formula"
        )
    varied = (x != x[0]).any(axis=0)
    if not varied.all():
        constant = [name for name, varies in zip(inputs, varied, strict=True) if not varies]
        if not varied.any():
            raise UserError(f"{path}: every input is constant: {', '.join(constant)}")
        warn(f"{path}: left out, the same in every row: {', '.join(constant)}")
        inputs = [name for name in inputs if name not in constant]
    return DataTable(np.ascontiguousarray(x[:, varied]), y, inputs, safe[chosen])


def _header(
    path: str | Path, lines: list[tuple[int, str]], separator: str, rows: list[Row]
) -> tuple[list[str], list[Row]]:
    """The names of the columns and the rows of values. Names are those of the first row, if it has
    a text; of a comment above the first row, as NumPy writes them; or x1, x2, ..., y."""
    first = rows[0].cells
    numeric = [looks_numeric(cell, separator) for cell in first]
    # As pandas writes the names 0, 1, 2, ... with an index.
    counted = first[0] == "" and first[1:] == [str(n) for n in range(len(first) - 1)]
    if counted and len(first) > 1:
        return ["", *(f"x{n}" for n in range(len(first) - 1))], rows[1:]
    if not all(
        is_number or cell.lower() in MISSING for is_number, cell in zip(numeric, first, strict=True)
    ):
        for cell, is_number in zip(first, numeric, strict=True):
            if is_number and not cell.isdigit():
                text = next(c for c, n in zip(first, numeric, strict=True) if not n)
                raise UserError(
                    f"{path}: row {rows[0].line} is neither names nor numbers: it has {cell} "
                    f"beside {_shown(text)}"
                )
        return first, rows[1:]
    above = [(n, line) for n, line in lines if n < rows[0].line and is_comment(line)]
    if above:
        text = above[-1][1].lstrip().lstrip("#")
        try:
            named = next((row.cells for row in rows_of([(1, text)], separator)), [])
        except csv.Error:
            named = []
        if text.startswith(separator) and separator != " ":
            named = ["", *named] if named and named[0] else named
        if len(named) == len(first) and not any(looks_numeric(c, separator) for c in named[1:]):
            warn(f"{path}: names from the comment in row {above[-1][0]}: {', '.join(named)}")
            return named, rows
    names = [*(f"x{n + 1}" for n in range(len(first) - 1)), "y"]
    if len(first) > 1:
        warn(f"{path}: no header: the columns are named {', '.join(names)}")
    return names, rows


def _rectangular(path: str | Path, names: list[str], rows: list[Row], separator: str) -> list[Row]:
    """Rows that are as long as the header. R writes rows that are longer by their names, which come
    first, and some programs end each row with a separator."""
    width = len(names)
    longer = bool(rows) and all(len(row.cells) == width + 1 for row in rows)
    if longer and all(row.cells[-1] == "" for row in rows):
        rows = [Row(row.line, row.cells[:-1]) for row in rows]
    elif longer and _counts([row.cells[0] for row in rows]):
        warn(f"{path}: left out, the numbers of the rows")
        rows = [Row(row.line, row.cells[1:]) for row in rows]
    for row in rows:
        if len(row.cells) != width:
            raise UserError(
                f"{path}: row {row.line} has {len(row.cells)} values for {width} columns separated "
                f"by {SEPARATORS[separator]}"
            )
    if names[-1] == "" and all(row.cells[-1] == "" for row in rows):  # separators at the ends
        names.pop()
        rows = [Row(row.line, row.cells[:-1]) for row in rows]
    if len(names) < 2:
        raise UserError(
            f"{path}: one column; at least 2, inputs and a target, are needed, separated by "
            f"{', '.join(SEPARATORS.values())}"
        )
    if not rows:
        raise UserError(f"{path}: no row of numbers; at least 2 are needed")
    return rows


def _counts(cells: list[str]) -> bool:
    """Whether these are the numbers of rows: whole and all different."""
    return all(re.fullmatch(r"\d+", c, re.ASCII) for c in cells) and len(set(cells)) == len(cells)


def _without_index(
    path: str | Path, names: list[str], rows: list[Row]
) -> tuple[list[str], list[Row]]:
    unnamed = names[0] == "" or re.fullmatch(r"Unnamed: 0(\.\d+)*", names[0])
    if unnamed and _counts([row.cells[0] for row in rows]):
        warn(f"{path}: left out, the first column, which has no name and numbers the rows")
        return _without_index(path, names[1:], [Row(row.line, row.cells[1:]) for row in rows])
    names = _all_named(path, names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f"{path}: columns of the same name, {', '.join(map(_shown, twice))}; names must differ"
        )
    if len(names) < 2:
        raise UserError(f"{path}: one column beside the index; inputs and a target are needed")
    return names, rows


def _all_named(path: str | Path, names: list[str]) -> list[str]:
    """Columns without a name are named by their place."""
    named = list(names)
    for place, name in enumerate(names):
        if not name:
            named[place] = f"x{place + 1}"
            while named[place] in names:
                named[place] += "_"
    if named != names:
        given = [new for name, new in zip(names, named, strict=True) if not name]
        warn(f"{path}: columns without a name are {', '.join(given)}")
    return named


def _position(path: str | Path, names: list[str], target: str | None) -> int:
    if target is None:
        return len(names) - 1
    if target not in names:
        raise UserError(
            f"{path}: no column {_shown(target)}; choose from {', '.join(map(_shown, names))}"
        )
    return names.index(target)


def _numbers(path: str | Path, names: list[str], rows: list[Row], separator: str) -> np.ndarray:
    """The values `[n, columns]`. Raises UserError for the first kind of cell that is no number."""
    # Places (line, column, cell) of all that is not plainly a number; most files have none.
    odd = [
        (row.line, name, cell)
        for row in rows
        for name, cell in zip(names, row.cells, strict=True)
        if not POINT.fullmatch(cell)
    ]

    def at(place: tuple[int, str, str]) -> str:
        line, name, cell = place
        return f"{_shown(cell)} in row {line}, column {_shown(name)}"

    missing = [place for place in odd if place[2].lower() in MISSING]
    if missing:
        count = f"{len(missing)} values are missing" if len(missing) > 1 else "a value is missing"
        raise UserError(
            f"{path}: {count}, the first is {at(missing[0])}; fill them in, or remove their rows"
        )
    comma = None if separator == "," else next((p for p in odd if COMMA.fullmatch(p[2])), None)
    for place in odd:
        cell = place[2]
        if comma and COMMA.fullmatch(cell):
            continue
        if _GROUPS.fullmatch(cell):
            kind = "a thousands separator or a decimal comma" if "," in cell else "separators"
            raise UserError(f"{path}: {kind} in the number {at(place)}; write it as 1234.5")
        if separator == "," and COMMA.fullmatch(cell):
            raise UserError(
                f"{path}: a decimal comma where commas separate the columns: {at(place)}; write "
                "numbers with a point"
            )
        raise UserError(f"{path}: {at(place)} is not a number")
    if comma:
        for row in rows:
            for name, cell in zip(names, row.cells, strict=True):
                if "." in cell:
                    raise UserError(
                        f"{path}: a decimal comma ({at(comma)}) and a decimal point "
                        f"({at((row.line, name, cell))}); write all numbers with a point"
                    )
        if all(_EITHER.fullmatch(cell) for _, _, cell in odd):
            raise UserError(
                f"{path}: a thousands separator or a decimal comma in {at(comma)}; write all "
                "numbers with a decimal point, as 1234.5"
            )
    texts = [cell.replace(",", ".") if comma else cell for row in rows for cell in row.cells]
    values = np.array([float(text) for text in texts])
    if not np.isfinite(values).all():
        row_number, column = divmod(int(np.argmin(np.isfinite(values))), len(names))
        row = rows[row_number]
        beyond = row.line, names[column], row.cells[column]
        raise UserError(f"{path}: {at(beyond)} is too large for a number of 64 bits")
    return values.reshape(len(rows), len(names))


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
