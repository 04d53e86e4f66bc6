"""Tables of numbers in text files (CSV and its relatives): the inputs and the target of samples.

Python's csv module splits the rows; what it is not told, such as the separator, is found out from
the content. What a file does not say for certain is refused, not guessed.
"""

from __future__ import annotations

import codecs
import csv
import importlib.util
import io
import keyword
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinykan.errors import UserError, warn

# The blank stands for any run of blanks and tabs. Of equally good separators the first is taken.
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", " ": "blanks"}
MISSING = frozenset(
    ("", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "nil", "none", "missing")
    + ("?", "-", "--", ".", "..", "1.#qnan")
)
MAX_BYTES = 2**30
CONSTANTS = ("E", "I", "N", "O", "Q", "S", "pi", "oo", "zoo")  # of SymPy, and its functions
SNIFFED = 200  # rows from which the separator is found out
SHOWN = 40  # characters of a cell in a message

_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?", re.ASCII)
# Groups of thousands: '1,234' may be a decimal as well, the others are not.
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_GROUPS = re.compile(r"[+-]?\d{1,3}(?:([.,'_ ])\d{3})(?:\1\d{3})*([.,]\d*)?", re.ASCII)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class DataTable:
    """Samples of a function: inputs `x` `[n, in]` and targets `y` `[n, 1]` in float64, all finite,
    and their names, which are different identifiers that SymPy reads as symbols."""

    x: np.ndarray
    y: np.ndarray
    inputs: list[str]
    target: str


@dataclass(frozen=True)
class _Row:
    """The cells of a row, stripped, and the number of its first line in the file."""

    line: int
    cells: list[str]


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
    lines = _lines(path)
    separator, lines = _declared_separator(lines)
    if separator is None:
        separator = _sniffed(lines)
    try:
        rows = list(_rows(lines, separator))
    except csv.Error as error:
        raise UserError(f"{path}: not a readable table of numbers ({error})") from None
    if not rows:
        raise UserError(f"{path}: the file is empty")
    names, rows = _header(path, lines, separator, rows)
    names, rows = _without_index(path, names, _rectangular(path, names, rows, separator))
    chosen = _position(path, names, target)
    values = _numbers(path, names, rows, separator)
    safe = _safe_names(path, names)
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


def _lines(path: str | Path) -> list[tuple[int, str]]:
    """The lines of the file with their numbers, ends included. Raises UserError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: not a readable file ({error.strerror or error})") from None
    except ValueError as error:  # a null character in the name
        raise UserError(f"{str(path)!r}: not a readable file ({error})") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: larger than a table may be, {MAX_BYTES} bytes")
    encoding = next((name for bom, name in _BOMS if content.startswith(bom)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        where = f"byte {content[error.start] if encoding == 'utf-8' else error.start:#04x}"
        raise UserError(
            f"{path}: not a text in {encoding.upper()} ({where}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"{path}: a binary file, or UTF-16 without a byte-order mark; not a table")
    return list(enumerate(io.StringIO(text, newline=""), 1))


def _declared_separator(
    lines: list[tuple[int, str]],
) -> tuple[str | None, list[tuple[int, str]]]:
    """The separator that Excel's first line `sep=;` declares, and the other lines."""
    found = re.fullmatch(r'"?sep=([,;\t| ])"?\s*', lines[0][1]) if lines else None
    return (found[1], lines[1:]) if found else (None, lines)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _data_lines(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in lines if not _is_comment(line))


def _rows(lines: list[tuple[int, str]], separator: str) -> Iterator[_Row]:
    """The rows that are neither empty nor comments. Raises csv.Error."""
    last = 0

    def fed() -> Iterator[str]:
        nonlocal last
        for number, line in _data_lines(lines):
            last = number
            yield line.replace("\t", " ") if separator == " " else line

    reader = csv.reader(fed(), delimiter=separator, skipinitialspace=True, strict=True)
    before = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise csv.Error(f"row {last}: {error}") from None
        first, before = max(before + 1, last - sum(c.count("\n") for c in cells)), last
        stripped = [_bare(cell) for cell in cells]
        if separator == " " and stripped and not stripped[-1]:
            stripped.pop()  # blanks at the end of the line
        if any(stripped):
            yield _Row(first, stripped)


def _bare(cell: str) -> str:
    """Without blanks around it, and without single quotes, which csv takes for a part of it."""
    cell = cell.strip()
    quoted = len(cell) > 1 and cell[0] == cell[-1] == "'"
    return cell[1:-1].strip() if quoted else cell


def _sniffed(lines: list[tuple[int, str]]) -> str:
    """The separator that gives the most cells with numbers in rows of one length."""

    def merit(separator: str) -> float:
        rows = []
        try:
            for row in _rows(lines, separator):
                rows.append(row.cells)
                if len(rows) > SNIFFED:
                    break
        except csv.Error:
            return 0.0
        data = rows[1:] or rows
        width = Counter(map(len, data)).most_common(1)[0][0] if data else 0
        if width < 2:
            return 0.0
        numbers = [
            sum(_looks_numeric(cell, separator) for cell in cells) / width
            for cells in data
            if len(cells) == width
        ]
        named = 0.5 * (len(rows[0]) == width)
        return named + sum(numbers) / len(data)

    return max(SEPARATORS, key=merit)  # the first of equals


def _looks_numeric(cell: str, separator: str) -> bool:
    return bool(_POINT.fullmatch(cell) or (separator != "," and _COMMA.fullmatch(cell)))


def _header(
    path: str | Path, lines: list[tuple[int, str]], separator: str, rows: list[_Row]
) -> tuple[list[str], list[_Row]]:
    """The names of the columns and the rows of values. Names are those of the first row, if it has
    a text; of a comment above the first row, as NumPy writes them; or x1, x2, ..., y."""
    first = rows[0].cells
    numeric = [_looks_numeric(cell, separator) for cell in first]
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
    above = [(n, line) for n, line in lines if n < rows[0].line and _is_comment(line)]
    if above:
        text = above[-1][1].lstrip().lstrip("#")
        try:
            named = next((row.cells for row in _rows([(1, text)], separator)), [])
        except csv.Error:
            named = []
        if text.startswith(separator) and separator != " ":
            named = ["", *named] if named and named[0] else named
        if len(named) == len(first) and not any(_looks_numeric(c, separator) for c in named[1:]):
            warn(f"{path}: names from the comment in row {above[-1][0]}: {', '.join(named)}")
            return named, rows
    names = [*(f"x{n + 1}" for n in range(len(first) - 1)), "y"]
    if len(first) > 1:
        warn(f"{path}: no header: the columns are named {', '.join(names)}")
    return names, rows


def _rectangular(
    path: str | Path, names: list[str], rows: list[_Row], separator: str
) -> list[_Row]:
    """Rows that are as long as the header. R writes rows that are longer by their names, which come
    first, and some programs end each row with a separator."""
    width = len(names)
    longer = bool(rows) and all(len(row.cells) == width + 1 for row in rows)
    if longer and all(row.cells[-1] == "" for row in rows):
        rows = [_Row(row.line, row.cells[:-1]) for row in rows]
    elif longer and _counts([row.cells[0] for row in rows]):
        warn(f"{path}: left out, the numbers of the rows")
        rows = [_Row(row.line, row.cells[1:]) for row in rows]
    for row in rows:
        if len(row.cells) != width:
            raise UserError(
                f"{path}: row {row.line} has {len(row.cells)} values for {width} columns separated "
                f"by {SEPARATORS[separator]}"
            )
    if names[-1] == "" and all(row.cells[-1] == "" for row in rows):  # separators at the ends
        names.pop()
        rows = [_Row(row.line, row.cells[:-1]) for row in rows]
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
    path: str | Path, names: list[str], rows: list[_Row]
) -> tuple[list[str], list[_Row]]:
    unnamed = names[0] == "" or re.fullmatch(r"Unnamed: 0(\.\d+)*", names[0])
    if unnamed and _counts([row.cells[0] for row in rows]):
        warn(f"{path}: left out, the first column, which has no name and numbers the rows")
        return _without_index(path, names[1:], [_Row(row.line, row.cells[1:]) for row in rows])
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


def _numbers(path: str | Path, names: list[str], rows: list[_Row], separator: str) -> np.ndarray:
    """The values `[n, columns]`. Raises UserError for the first kind of cell that is no number."""
    cells = [
        (row.line, name, cell) for row in rows for name, cell in zip(names, row.cells, strict=True)
    ]

    def at(place: tuple[int, str, str]) -> str:
        line, name, cell = place
        return f"{_shown(cell)} in row {line}, column {_shown(name)}"

    missing = [place for place in cells if place[2].lower() in MISSING]
    if missing:
        count = f"{len(missing)} values are missing" if len(missing) > 1 else "a value is missing"
        raise UserError(
            f"{path}: {count}, the first is {at(missing[0])}; fill them in, or remove their rows"
        )
    comma = None if separator == "," else next((p for p in cells if _COMMA.fullmatch(p[2])), None)
    number = _COMMA if comma else _POINT
    for place in cells:
        cell = place[2]
        if number.fullmatch(cell) or re.fullmatch(r"[+-]?\d+([eE][+-]?\d+)?", cell, re.ASCII):
            continue
        if comma and _POINT.fullmatch(cell):
            raise UserError(
                f"{path}: a decimal comma ({at(comma)}) and a decimal point ({at(place)}); "
                "write all numbers with a point"
            )
        if _GROUPS.fullmatch(cell):
            kind = "a thousands separator or a decimal comma" if "," in cell else "separators"
            raise UserError(f"{path}: {kind} in the number {at(place)}; write it as 1234.5")
        if separator == "," and _COMMA.fullmatch(cell):
            raise UserError(
                f"{path}: a decimal comma where commas separate the columns: {at(place)}; write "
                "numbers with a point"
            )
        raise UserError(f"{path}: {at(place)} is not a number")
    commas = [place for place in cells if "," in place[2]]
    if commas and all(_EITHER.fullmatch(cell) for _, _, cell in commas):
        raise UserError(
            f"{path}: a thousands separator or a decimal comma in {at(commas[0])}; write all "
            "numbers with a decimal point, as 1234.5"
        )
    values = np.array([float(cell.replace(",", ".")) for _, _, cell in cells])
    if not np.isfinite(values).all():
        beyond = cells[int(np.argmin(np.isfinite(values)))]
        raise UserError(f"{path}: {at(beyond)} is too large for a number of 64 bits")
    return values.reshape(len(rows), len(names))


def _safe_names(path: str | Path, names: list[str]) -> list[str]:
    """Different identifiers that SymPy reads as symbols; those that are such stay as they are."""
    safe = {name: name for name in names if _identifier(name) == name}
    for name in names:
        if name not in safe:
            new = _identifier(name)
            while new in safe.values() or new in names:
                new += "_"
            safe[name] = new
    changed = [f"{_shown(name)} is {safe[name]}" for name in names if safe[name] != name]
    if changed:
        warn(f"{path}: names that formulas cannot have: {', '.join(changed)}")
    return [safe[name] for name in names]


def _identifier(name: str) -> str:
    """The name, changed if it is no identifier or means something to Python or SymPy."""
    text = unicodedata.normalize("NFKC", name)
    if not text.isidentifier():
        text = re.sub(r"\W+", "_", text).strip("_") or "x"
    if not text.isidentifier():
        text = f"x{text}"
    return f"{text}_" if _has_a_meaning(text) else text


def _has_a_meaning(name: str) -> bool:
    if keyword.iskeyword(name) or name in CONSTANTS:
        return True
    if importlib.util.find_spec("sympy") is None:  # then no formulas are written
        return False
    import sympy

    try:
        return sympy.sympify(name) != sympy.Symbol(name)  # beta, gamma, max and many more
    except (sympy.SympifyError, TypeError):
        return True


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
