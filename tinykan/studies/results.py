"""The results of a study: read from results.json, checked, and written.

Pictures are lossless WebP files beside results.json, which names them. Files of earlier versions
contain them as PNG in base64.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import operator
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from PIL import Image

from tinykan.checkpoint import write_atomically
from tinykan.errors import UserError

FILE = "results.json"
PHASES = ("search", "final")
STATES = ("complete", "failed", "running", "waiting")
# Reports draw the curves of final runs only.
CURVE_POINTS = {"search": 21, "final": 101}
MILESTONE = "seconds_to_"  # with which names of scores begin that are times
DIGITS = 5  # of the numbers on a curve
CONFIG_FIELDS: dict[str, Any] = {
    "lr": int | float | None,  # None in a final cell until its search has ended
    "schedule": str,
    "steps": int,
    "parameters": int,
    "seed": int,
}
COMPLETE_FIELDS: dict[str, Any] = {
    "shape": str,
    "parameters": int,
    "scores": dict,
    "compile_seconds": int | float,
    "train_seconds": int | float,
}


@dataclass(frozen=True)
class CellResult:
    """One run of a study: its configuration, its state and, once it is complete, its scores."""

    key: str
    arm: str
    phase: str  # one of PHASES
    tried: bool  # whether the search for settings includes it
    chosen: bool  # whether its settings won the search
    state: str  # one of STATES
    config: dict[str, Any]
    reason: str | None = None  # of a failure
    attempts: int | None = None
    shape: str | None = None  # the network's widths
    parameters: int | None = None
    score: float | None = None
    scores: dict[str, Any] | None = None
    compile_seconds: float | None = None
    train_seconds: float | None = None  # without compilation
    seconds: float | None = None  # in all
    curve: list[list[float]] | None = None  # points [step, loss, seconds of training]
    clock: str | None = None  # "training": what the curve and the milestones count
    device: str | None = None
    renderer: str | None = None
    machine: str | None = None
    host_cores: int | None = None
    threads: int | None = None  # of a CPU's kernels
    versions: dict[str, str] | None = None
    picture: bytes | None = None  # WebP
    # Scores, `intervals` and `parameters` on each grid, if the splines were refined.
    grids: list[dict[str, Any]] | None = None

    def value(self, score: str) -> Any:
        """The score of that name, or None if there is none."""
        return (self.scores or {}).get(score)

    @property
    def picture_file(self) -> str:
        name = re.sub(r"[^a-z0-9]+", "-", f"{self.arm} {self.key}".lower()).strip("-")
        return f"picture-{name}.webp"


@dataclass(frozen=True)
class Baseline:
    """What the scores of a study are compared with, other than its arms."""

    label: str
    scores: dict[str, Any]


@dataclass(frozen=True)
class Results:
    """A study and all that is known of its cells."""

    title: str
    question: str
    notes: str
    protocol: str  # the task, as in the study file
    command: str
    study_file: str
    score: str
    lower_is_better: bool
    scores_shown: list[str]
    baseline: Baseline | None
    target_picture: bytes | None  # WebP
    cells: list[CellResult]
    planned: int
    seconds: float
    name: str | None = None
    published: dict[str, Any] | None = None  # as tinykan.studies.published checks it
    version: int | None = None  # of the results that its code computes; None before there were any
    left_out: dict[str, int] | None = None  # complete cells in the storage, by their other version

    target_file = "target.webp"

    @property
    def picture_files(self) -> dict[str, bytes]:
        """All pictures by the names of their files."""
        found = {cell.picture_file: cell.picture for cell in self.cells}
        found[self.target_file] = self.target_picture
        return {name: content for name, content in found.items() if content is not None}


def read_results(folder: Path) -> Results:
    """The results in `folder`. Raises UserError, or OSError if there is no such file."""
    path = folder / FILE
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    try:
        return results_from(content, folder)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def write_results(results: Results, folder: Path) -> None:
    """Writes results.json and its pictures into `folder`. Curves are thinned and rounded."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in results.picture_files.items():
        write_atomically(folder / name, picture)
    content = {"format": 1, **_shallow(results)}
    content["baseline"] = results.baseline and asdict(results.baseline)
    content["target_picture"] = results.target_picture and results.target_file
    content["cells"] = [
        {
            **_shallow(cell),
            "curve": cell.curve and _thinned(cell.curve, CURVE_POINTS[cell.phase]),
            "picture": cell.picture and cell.picture_file,
        }
        for cell in results.cells
    ]
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    write_atomically(folder / FILE, f"{text}\n".encode())


def results_from(content: Any, folder: Path = Path()) -> Results:
    """Results from the JSON `content`, with the pictures in `folder` that it names. Raises
    UserError for anything but a study's results of format 1."""
    if not isinstance(content, dict) or content.get("format") != 1:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UserError(f"these are no study results of format 1, but {found!r}")
    replaced = {"baseline": dict | None, "target_picture": str | None}
    known = _checked("the study", content, Results, replaced)
    baseline = known["baseline"] or None
    known["baseline"] = baseline and Baseline(**_checked("the baseline", baseline, Baseline, {}))
    known["target_picture"] = _picture(known["target_picture"], "the target", folder)
    known["cells"] = [
        cell_from(cell, f"cell {number}", folder) for number, cell in enumerate(known["cells"])
    ]
    return Results(**known)


def cell_from(content: Any, where: str, folder: Path = Path()) -> CellResult:
    """A cell from the JSON `content`. Raises UserError, which says `where`, if it is none."""
    known = _checked(where, content, CellResult, {"picture": str | None})
    _check(f"the configuration of {where}", known["config"], CONFIG_FIELDS)
    if known["phase"] not in PHASES or known["state"] not in STATES:
        raise UserError(
            f"{where} is {known['phase']!r} and {known['state']!r}; allowed are "
            f"{' or '.join(PHASES)}, and {', '.join(STATES)}"
        )
    if known["state"] == "complete":
        _check(f"{where}, which is complete,", content, COMPLETE_FIELDS)
    for point in known["curve"] or []:
        if not isinstance(point, list) or len(point) != 3:
            raise UserError(f"{where}: {point!r} on its curve is not [step, loss, seconds]")
    if known["clock"] is None:
        known |= _without_compilation(known)
    return CellResult(
        **{**known, "picture": _picture(known["picture"], f"cell {known['key']}", folder)}
    )


def _without_compilation(known: dict[str, Any]) -> dict[str, Any]:
    """The curve and the scores of a cell of earlier versions, where the seconds that passed before
    a step, and before a milestone was reached, had those of the compilation in them."""
    compilation = known["compile_seconds"] or 0.0

    def trained(seconds: Any) -> Any:
        return max(0.0, seconds - compilation) if isinstance(seconds, int | float) else seconds

    curve, scores = known["curve"], known["scores"]
    return {
        "clock": "training",
        "curve": curve and [[step, loss, trained(seconds)] for step, loss, seconds in curve],
        "scores": scores
        and {k: trained(v) if k.startswith(MILESTONE) else v for k, v in scores.items()},
    }


def decode(picture: bytes) -> np.ndarray:
    """The 8-bit pixels `[height, width, 3]` of an image file."""
    with Image.open(io.BytesIO(picture)) as file:
        return np.asarray(file.convert("RGB"))


def lossless(pixels: np.ndarray) -> bytes:
    """8-bit pixels `[height, width, 3]` as lossless WebP."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True)
    return file.getvalue()


def _picture(value: str | None, of: str, folder: Path) -> bytes | None:
    """The content of the file that `value` names, or the PNG that it encodes, as WebP."""
    if value is None:
        return None
    named = "." in value  # never in base64
    if named and Path(value).name != value:
        raise UserError(f"the picture of {of} is {value!r}, not a file beside {FILE}")
    try:
        content = (folder / value).read_bytes() if named else base64.b64decode(value, validate=True)
        pixels = decode(content)
    except (OSError, SyntaxError, ValueError):
        kind = f"no image {folder / value}" if named else "not a PNG in base64"
        raise UserError(f"the picture of {of} is {kind}") from None
    return content if named else lossless(pixels)


def _thinned(curve: list[list[float]], most: int) -> list[list[float]]:
    """At most that many points of a curve, evenly spaced, the first and the last among them."""
    chosen = np.linspace(0, len(curve) - 1, min(len(curve), most)).round().astype(int)
    return [[_rounded(value) for value in curve[i]] for i in chosen]


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _shallow(of: CellResult | Results) -> dict[str, Any]:
    return {field.name: getattr(of, field.name) for field in fields(of)}


def _checked(where: str, table: Any, kind: type, replaced: dict[str, Any]) -> dict[str, Any]:
    """The values of the fields of `kind` in a JSON table; `replaced` are the types of those that
    JSON has in another form."""
    hints = {name: _runtime(hint) for name, hint in get_type_hints(kind).items()}
    _check(where, table, {**hints, **replaced})
    return {name: table.get(name) for name in hints}


def _runtime(hint: Any) -> Any:
    """A type hint for `isinstance`; in JSON any number may be a whole one."""
    if isinstance(hint, UnionType):
        return functools.reduce(operator.or_, map(_runtime, get_args(hint)))
    return int | float if hint is float else get_origin(hint) or hint


def _check(where: str, table: Any, kinds: dict[str, Any]) -> None:
    if not isinstance(table, dict):
        raise UserError(f"{where} is {table!r:.60}, not a table of names and values")
    for name, kind in kinds.items():
        value = table.get(name)
        if not isinstance(value, kind):
            expected = getattr(kind, "__name__", str(kind))
            raise UserError(f"{where} has {name} {value!r:.60}; it must be {expected}")
