"""The report of a study: verdicts, figures, and the provenance of each number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinykan.checkpoint import write_atomically
from tinykan.studies import figures, pictures, tables
from tinykan.studies.grid_tables import published_table
from tinykan.studies.rendering import Figure, Image, Strong, Table, render_html, render_markdown
from tinykan.studies.results import MILESTONE, Results, decode
from tinykan.studies.statistics import Condition, Group, StudyResults, finite

LEGEND = (
    "± is the standard deviation over the seeds (n − 1); of two seeds, the single scores follow in "
    "brackets. ≈ marks a mean within one pooled standard deviation of the best: the order of the "
    "two says nothing. ? marks a comparison of single seeds, whose spread is unknown. The "
    "percentage after the parameters is their deviation from the budget. Where it says 2 of 3 "
    "seeds, the others failed or are not complete, and the mean may be too good. Seconds, in "
    "tables and figures, are those of training one seed, without compilation."
)
TO_30_DB = " Those to 30 dB lasted until the PSNR first was that high."
SECONDS = "seconds of training, without compilation"
IMAGE = re.compile(r'(?:\]\(|<img src=")([\w-]+\.(?:png|webp))')  # a link to one in a README


@dataclass(frozen=True)
class Verdict:
    """The result under one condition."""

    condition: Condition
    sentence: list[str]
    ranking: Table


@dataclass(frozen=True)
class Report:
    """The content of a report, in the order of its sections; empty ones are left out."""

    title: str
    question: str
    progress: str
    unfinished: bool
    verdicts: list[Verdict]
    notes: str  # Markdown
    published: Table | None
    source: str  # of published numbers
    scores: list[Figure]
    costs: list[Figure]
    curves: list[Figure]
    reconstructions: list[tuple[Condition, list[Figure]]]
    search: Table | None
    search_notes: list[str]
    failures: Table | None
    provenance: list[Table]
    command: str
    study_file: str
    legend: str

    def html(self) -> str:
        return render_html(self)

    def markdown(self) -> str:
        return render_markdown(self)

    def images(self) -> dict[str, bytes]:
        """The content of all images by the names of their files."""
        shown = [*self.scores, *self.costs, *self.curves]
        shown += [figure for _, group in self.reconstructions for figure in group]
        return {image.file: image.content for figure in shown for image in figure.images}


def write_report(results: Results, folder: Path) -> None:
    """Writes `README.md` with its images, and `report.html`, which needs no other file, into
    `folder`. Images of an earlier report there are deleted."""
    report = build_report(results)
    folder.mkdir(parents=True, exist_ok=True)
    readme, images = folder / "README.md", report.images()
    earlier = set(IMAGE.findall(readme.read_text())) if readme.exists() else set()
    for name, content in images.items():
        write_atomically(folder / name, content)
    write_atomically(readme, report.markdown().encode())
    for name in earlier - {*images, *results.picture_files}:
        (folder / name).unlink(missing_ok=True)
    write_atomically(folder / "report.html", report.html().encode())


def build_report(results: Results) -> Report:
    study = StudyResults(results)
    progress, unfinished = _progress(study)
    return Report(
        title=results.title,
        question=results.question,
        progress=progress,
        unfinished=unfinished,
        verdicts=[
            Verdict(c, _sentence(study, ranking), tables.ranking_table(study, c))
            for c, ranking in study.scored.items()
        ],
        notes=results.notes.strip(),
        published=published_table(study),
        source=(results.published or {"source": ""})["source"],
        scores=_scores(study),
        costs=_costs(study),
        curves=_curves(study),
        reconstructions=_reconstructions(study),
        search=tables.search_table(study) if study.search else None,
        search_notes=tables.search_notes(study) if study.search else [],
        failures=tables.failure_table(study) if study.failed else None,
        provenance=tables.provenance(study),
        command=results.command,
        study_file=results.study_file,
        legend=LEGEND + TO_30_DB * any(s.startswith(MILESTONE) for s in results.scores_shown),
    )


def _progress(study: StudyResults) -> tuple[str, bool]:
    """The state of the study in a sentence or two, and whether it is unfinished."""
    planned, seconds = max(study.results.planned, len(study.cells)), study.results.seconds
    states = {state: study.count(state) for state in ("complete", "failed", "running")}
    states["waiting"] = planned - sum(states.values())
    counts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    time = f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"
    unfinished = states["running"] + states["waiting"] > 0
    text = f"Task {study.results.protocol}; {planned} runs, {counts}; {time} of computing."
    warning = " The study is not finished, and its results may change." if unfinished else ""
    return text + warning + _left_out(study.results), unfinished


def _left_out(results: Results) -> str:
    """The cells of other code in the storage, in a sentence."""
    counts = [f"{n} complete of version {v}" for v, n in (results.left_out or {}).items()]
    which = f" Runs of other code are left out: {', '.join(counts)}, where this is"
    return f"{which} {results.version} of what studies compute." if counts else ""


def _sentence(study: StudyResults, ranking: list[Group]) -> list[str]:
    """The best arm, called a winner only if it stands out of the spread."""
    best, others = ranking[0], ranking[1:]
    standings = {group.arm: study.standing(group, best) for group in others}
    tied = [arm for arm, standing in standings.items() if standing == "tied"]
    if not others:
        end = "No other arm has a score yet."
    elif tied:
        end = f"No clear winner: {_listed(tied)} within one pooled standard deviation of it."
    elif "unknown" in standings.values():
        end = "With one seed each the spread is unknown, and this order is no verdict."
    else:
        end = (
            "Every other arm is behind by more than one pooled standard deviation; the next is "
            f"{others[0].arm} ({tables.distance(study, others[0], best)})."
        )
    which = "Lowest" if study.lower_is_better else "Highest"
    value = tables.units(study, ranking)[0].full(best.values(study.score))
    seeds = "1 seed" if len(best.complete) == 1 else f"{len(best.complete)} seeds"
    return [f"{which} {study.score}: ", Strong(best.arm), f", {value}, {seeds}. {end}"]


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last} lie" if first else f"{last} lies"


def _scores(study: StudyResults) -> list[Figure]:
    shown = []
    for condition, ranking in study.scored.items():
        unit = tables.units(study, ranking)[0]
        values = "; ".join(f"{g.arm} {unit.spread(g.values(study.score))}" for g in ranking)
        shown.append(
            _chart(
                _name("scores", condition),
                figures.draw_scores(study, ranking),
                f"{unit.label} of each arm, the best first: {values}.",
                f"{condition}: a dot for each seed, a bar at their mean; the best arm and those "
                "within one pooled standard deviation of it are shaded.",
            )
        )
    return shown


def _costs(study: StudyResults) -> list[Figure]:
    groups = [group for ranking in study.scored.values() for group in ranking]
    if not groups:
        return []
    costs = {"seconds": SECONDS}
    if len({group.condition.budget for group in groups}) > 1:
        costs["parameters"] = "parameters"
    return [
        _chart(
            f"cost-{cost}",
            figures.draw_cost(study, groups, cost),
            f"Mean {study.score} of each arm against {name}; the values are in the tables above.",
            f"Mean {study.score} and its standard deviation against {name}. The gray line is the "
            "Pareto front; joined points are of one arm.",
        )
        for cost, name in costs.items()
    ]


def _curves(study: StudyResults) -> list[Figure]:
    names = {"steps": "steps", "seconds": SECONDS}
    return [
        _chart(
            _name(f"curves-{against}", condition),
            figures.draw_curves(study, ranking, against),
            f"Training loss of each arm against {name}, {condition}.",
            f"{condition}: mean over the seeds, and the range from the least to the greatest, "
            f"against {name}. The first losses may lie above the figure.",
        )
        for condition, ranking in study.scored.items()
        if any(cell.curve for group in ranking for cell in group.complete)
        for against, name in names.items()
    ]


def _reconstructions(study: StudyResults) -> list[tuple[Condition, list[Figure]]]:
    drawn = {
        condition: [
            (group, cell, cell.picture, decode(cell.picture))
            for group in ranking
            for cell in group.complete
            if cell.picture
        ]
        for condition, ranking in study.scored.items()
    }
    encoded = study.results.target_picture
    target = None if encoded is None else decode(encoded)
    maps = {
        cell.key: pictures.errors(pixels, target)
        for found in drawn.values()
        for _, cell, _, pixels in found
        if target is not None and pixels.shape == target.shape
    }
    limit = pictures.common_limit(list(maps.values()))
    sections = []
    for condition, found in drawn.items():
        units = tables.units(study, study.scored[condition])
        shown = []
        if found and encoded is not None and target is not None:
            shown.append(_target(study.results.target_file, encoded, target, limit))
        for group, cell, content, pixels in found:
            error, size = maps.get(cell.key), pictures.shown_size(pixels)
            scores = [f"{u.name} {u.full(finite([cell.value(u.score)]))}" for u in units]
            scores += [] if error is None else [f"mean error {error.mean():.2%}"]
            caption = f"{group.arm}, seed {cell.config['seed']}: {', '.join(scores)}."
            name = cell.picture_file
            images = [Image(name, content, f"Reconstruction of {caption}", *size)]
            if error is not None:
                colored = pictures.error_map(error, limit)
                name = name.replace("picture", "errors", 1)
                images.append(Image(name, colored, f"Error map of {caption}", *size))
            shown.append(Figure(images, caption))
        sections += [(condition, shown)] if shown else []
    return sections


def _target(name: str, content: bytes, pixels: np.ndarray, limit: float) -> Figure:
    size = pictures.shown_size(pixels)
    scale = pictures.error_scale(limit, size)
    return Figure(
        [
            Image(name, content, "The target of all reconstructions.", *size),
            Image("scale.webp", scale, "The color bar of the error maps.", *size),
        ],
        "The target, and the color scale of all error maps.",
    )


def _chart(name: str, content: bytes, alt: str, caption: str) -> Figure:
    height, width = decode(content).shape[:2]
    return Figure([Image(f"{name}.webp", content, alt, width // 2, height // 2)], caption)


def _name(what: str, condition: Condition) -> str:
    """Of a file."""
    lengths = [condition.steps, *([condition.lbfgs] if condition.lbfgs else []), condition.budget]
    return "-".join([what, *map(str, lengths)])
