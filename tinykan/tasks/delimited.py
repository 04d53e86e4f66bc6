"""Rows of cells in text files: encodings, comments, quotes, and the separator, which is found out
from the content."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tinykan.errors import UserError

# The blank stands for any run of blanks and tabs. Of equally good separators the first is taken.
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", " ": "blanks"}
MAX_BYTES = 2**28
SNIFFED = 200  # rows from which the separator is found out

POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # a number with one or none
COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?", re.ASCII)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Row:
    """The cells of a row, stripped, and the number of its first line in the file."""

    line: int
    cells: list[str]


def lines_of(path: str | Path) -> list[tuple[int, str]]:
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


def declared_separator(
    lines: list[tuple[int, str]],
) -> tuple[str | None, list[tuple[int, str]]]:
    """The separator that Excel's first line `sep=;` declares, and the other lines."""
    found = re.fullmatch(r'"?sep=([,;\t| ])"?\s*', lines[0][1]) if lines else None
    return (found[1], lines[1:]) if found else (None, lines)


def is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _data_lines(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in lines if not is_comment(line))


def rows_of(lines: list[tuple[int, str]], separator: str) -> Iterator[Row]:
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
            yield Row(first, stripped)


def _bare(cell: str) -> str:
    """Without blanks around it, and without single quotes, which csv takes for a part of it."""
    cell = cell.strip()
    quoted = len(cell) > 1 and cell[0] == cell[-1] == "'"
    return cell[1:-1].strip() if quoted else cell


def sniffed(lines: list[tuple[int, str]]) -> str:
    """The separator that gives the most cells with numbers in rows of one length."""

    def merit(separator: str) -> float:
        rows = []
        try:
            for row in rows_of(lines, separator):
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
            sum(looks_numeric(cell, separator) for cell in cells) / width
            for cells in data
            if len(cells) == width
        ]
        named = 0.5 * (len(rows[0]) == width)
        return named + sum(numbers) / len(data)

    return max(SEPARATORS, key=merit)  # the first of equals


def looks_numeric(cell: str, separator: str) -> bool:
    return bool(POINT.fullmatch(cell) or (separator != "," and COMMA.fullmatch(cell)))
