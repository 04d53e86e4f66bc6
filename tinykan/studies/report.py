"""The page that reports a study: what came out, how sure it is, and where each number is from."""

from __future__ import annotations

import re
from pathlib import Path

from tinykan.checkpoint import write_atomically
from tinykan.studies import figures, pictures, tables
from tinykan.studies.page import (
    Block,
    Details,
    Figure,
    Figures,
    Heading,
    Listing,
    Notes,
    Page,
    Paragraph,
    Strong,
)
from tinykan.studies.statistics import Condition, Group, Study, finite

LEGEND = (
    "± is the standard deviation over the seeds (n − 1). ≈: the mean lies within one pooled "
    "standard deviation of the best, so that the order of the two says nothing. ?: one seed each, "
    "so that the spread is not known. In brackets: the single scores where there are but two; "
    "after learnable numbers, by how much they miss the budget. Where it says 2 of 3 seeds, the "
    "others failed or have not ended, and the mean may be too good. Seconds are of training one "
    "seed, without the compilation before it."
)


PICTURE = re.compile(r"\]\(([\w-]+\.png)\)")  # a link to one in Markdown


def write_report(results: dict, folder: Path) -> None:
    """Writes `report.html`, which needs no other file, `README.md` and its pictures into `folder`,
    from what a study's results.json holds, in the place of an earlier report. Raises UserError if
    that is not of format 1."""
    page = build_page(results)
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "README.md"
    earlier = set(PICTURE.findall(text.read_text())) if text.exists() else set()
    for figure in page.figures():
        write_atomically(folder / f"{figure.name}.png", figure.png)
    write_atomically(text, page.markdown().encode())
    for name in earlier - set(PICTURE.findall(text.read_text())):
        (folder / name).unlink(missing_ok=True)
    write_atomically(folder / "report.html", page.html().encode())


def build_page(results: dict) -> Page:
    study = Study(results)
    sections: dict[str, list[Block]] = {
        "Verdict": _verdict(study),
        "Conclusions": [Notes(results["notes"])] if results["notes"].strip() else [],
        "Every seed": _every_seed(study),
        "Score and cost": _cost(study),
        "Learning curves": _curves(study),
        "Reconstructions": _reconstructions(study),
        "Search for the learning rate": [tables.search_table(study), *tables.search_notes(study)]
        if study.search
        else [],
        "Failures": [tables.failure_table(study)] if study.failed else [],
        "Behind every number": [
            Details("Configuration, machine and versions of every run", tables.provenance(study))
        ],
        "To repeat it": [
            Listing(results["command"]),
            Details("The study file", [Listing(results["study_file"])]),
        ],
    }
    blocks = [Paragraph((results["question"],)), _progress(study)]
    for title, section in sections.items():
        blocks += [Heading(2, title), *section] if section else []
    return Page(results["title"], blocks)


def _progress(study: Study) -> Block:
    planned, seconds = max(study.results["planned"], len(study.cells)), study.results["seconds"]
    states = {state: study.count(state) for state in ("complete", "failed", "running")}
    states["waiting"] = planned - sum(states.values())
    counts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    time = f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"
    unfinished = states["running"] + states["waiting"] > 0
    return Paragraph(
        (
            f"Protocol {study.results['protocol']}; {planned} runs, {counts}; {time} of computing.",
            " The study is not finished: what is said here may change." if unfinished else "",
        ),
        note=unfinished,
    )


def _verdict(study: Study) -> list[Block]:
    if not study.scored:
        return [Paragraph(("No final run is complete yet.",))]
    blocks: list[Block] = []
    for condition, ranking in study.scored.items():
        blocks += [Heading(3, str(condition))] if len(study.scored) > 1 else []
        blocks += [_sentence(study, ranking), tables.ranking_table(study, condition)]
    return [*blocks, Paragraph((LEGEND,))]


def _sentence(study: Study, ranking: list[Group]) -> Block:
    """A winner is called one only if it stands out of the spread."""
    best, others = ranking[0], ranking[1:]
    standings = {group.arm: study.standing(group, best) for group in others}
    tied = [arm for arm, standing in standings.items() if standing == "tied"]
    if not others:
        end = "No other arm has a score yet."
    elif tied:
        end = f"No clear winner: {_listed(tied)} within one pooled standard deviation of it."
    elif "unknown" in standings.values():
        end = "With one seed each the spread is not known, and this order is no verdict."
    else:
        end = (
            "Every other arm is behind by more than one pooled standard deviation; the next is "
            f"{others[0].arm} ({tables.distance(study, others[0], best)})."
        )
    which = "Lowest" if study.lower_is_better else "Highest"
    value = tables.units(study, ranking)[0].full(best.values(study.score))
    seeds = "1 seed" if len(best.complete) == 1 else f"{len(best.complete)} seeds"
    start = f"{which} {study.score}: "
    return Paragraph((start, Strong(best.arm), f", {value}, {seeds}. {end}"))


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last} lie" if first else f"{last} lies"


def _every_seed(study: Study) -> list[Block]:
    shown = []
    for condition, ranking in study.scored.items():
        unit = tables.units(study, ranking)[0]
        numbers = "; ".join(f"{g.arm} {unit.spread(g.values(study.score))}" for g in ranking)
        shown.append(
            Figure(
                _name("scores", condition),
                figures.draw_scores(study, ranking),
                f"{unit.label}, of each arm, best first: {numbers}.",
                f"{condition}: a dot for each seed, a bar at their mean; shaded are the best and "
                "what lies within one pooled standard deviation of it.",
            )
        )
    return [Figures(shown)] if shown else []


def _cost(study: Study) -> list[Block]:
    groups = [group for ranking in study.scored.values() for group in ranking]
    if not groups:
        return []
    costs = {"seconds": "seconds of training, without compilation"}
    if len({group.condition.budget for group in groups}) > 1:
        costs["parameters"] = "learnable numbers"
    shown = [
        Figure(
            f"cost-{cost}",
            figures.draw_cost(study, groups, cost),
            f"Mean {study.score} of each arm against {name}; the numbers are in the tables above.",
            f"Mean {study.score} and its standard deviation against {name}. Nothing to the left of "
            "the grey line is as good; joined points are of one arm.",
        )
        for cost, name in costs.items()
    ]
    return [Figures(shown)]


def _curves(study: Study) -> list[Block]:
    shown = [
        Figure(
            _name(f"curves-{against}", condition),
            figures.draw_curves(study, ranking, against),
            f"Training loss of each arm against {against}, {condition}.",
            f"{condition}: mean over the seeds, and the range from the least to the greatest, "
            f"against {against}. The first losses may lie above the figure.",
        )
        for condition, ranking in study.scored.items()
        if any(cell["curve"] for group in ranking for cell in group.complete)
        for against in ("steps", "seconds")
    ]
    return [Figures(shown)] if shown else []


def _reconstructions(study: Study) -> list[Block]:
    drawn = {
        condition: [
            (group, cell, pictures.decode(cell["picture"], f"cell {cell['key']}"))
            for group in ranking
            for cell in group.complete
            if cell["picture"]
        ]
        for condition, ranking in study.scored.items()
    }
    drawn = {condition: found for condition, found in drawn.items() if found}
    if not drawn:
        return []
    encoded = study.results["target_picture"]
    target = pictures.decode(encoded, "the target") if encoded else None
    maps = {
        cell["key"]: pictures.errors(picture, target)
        for found in drawn.values()
        for _, cell, picture in found
        if target is not None and picture.shape == target.shape
    }
    limit = pictures.common_limit(list(maps.values()))
    blocks: list[Block] = []
    for condition, found in drawn.items():
        units = tables.units(study, study.scored[condition])
        shown = []
        if target is not None:
            shown.append(
                Figure(
                    "target",
                    pictures.target_and_scale(target, limit),
                    "The target, and the color bar of the error maps.",
                    "The target, and the scale of all error maps.",
                )
            )
        for group, cell, picture in found:
            error = maps.get(cell["key"])
            scores = [f"{u.score} {u.full(finite([cell['scores'].get(u.score)]))}" for u in units]
            scores += [] if error is None else [f"mean error {error.mean():.2%}"]
            caption = f"{group.arm}, seed {cell['config']['seed']}: {', '.join(scores)}"
            shown.append(
                Figure(
                    _name(f"picture-{study.arms.index(group.arm)}-{group.arm}", condition),
                    pictures.pair(picture, error, limit),
                    f"Reconstruction and error map of {caption}.",
                    caption + ".",
                )
            )
        blocks += [Heading(3, str(condition))] if len(drawn) > 1 else []
        blocks.append(Figures(shown, small=True))
    return blocks


def _name(what: str, condition: Condition) -> str:
    """Of a file."""
    whole = f"{what}-{condition.steps}-{condition.budget}"
    return re.sub(r"[^a-z0-9]+", "-", whole.lower())
