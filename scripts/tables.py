"""Compares the estimators of tinykan.sklearn with scikit-learn's MLPs on tables."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinykan import device
from tinykan.errors import lookup, need
from tinykan.runs.command_line import device_option, option, run

LOADERS = {
    "diabetes": "load_diabetes",
    "housing": "",
    "iris": "load_iris",
    "wine": "load_wine",
    "breast-cancer": "load_breast_cancer",
    "digits": "load_digits",
}
REGRESSION = ["diabetes", "housing"]


@dataclass
class Config:
    """Cross-validates KANRegressor and KANClassifier with their default settings, and MLPRegressor
    and MLPClassifier with theirs, as they are and behind a StandardScaler, on the same shuffled
    folds (of classes: stratified) of six tables. Prints, as a Markdown table, mean and standard
    deviation over the folds of R^2 or accuracy, and the median of the seconds of a fit; for KANs,
    whose kernels the first fit of a shape compiles before anything is timed, also those of its
    steps alone. All three are fitted to a fold before the next. NumPy's linear algebra runs on one
    thread, with which MLPs of this size are fastest on a processor that is not idle. Needs
    scikit-learn."""

    folds: int = option(5, "folds of a cross-validation", minimum=2)
    repeats: int = option(1, "cross-validations, each with folds of its own", minimum=1)
    seed: int = option(1, "of the folds", minimum=0)
    only: str | None = option(None, f"some of the tables, by commas: {', '.join(LOADERS)}")
    device: str | None = device_option()


def main(config: Config) -> None:
    need("sklearn", extra="sklearn", purpose="the comparison of estimators")
    names = list(LOADERS) if config.only is None else config.only.split(",")
    for name in names:
        lookup("table", name, LOADERS)
    device.select(config.device)
    print("| table | rows x inputs | score | KAN | s | steps alone, s | MLP | s | scaled MLP | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in names:
        print(row(name, config), flush=True)


def row(name: str, config: Config) -> str:
    """A row of the table."""
    from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold

    x, y = table(name)
    splitter = RepeatedKFold if name in REGRESSION else RepeatedStratifiedKFold
    folds = splitter(n_splits=config.folds, n_repeats=config.repeats, random_state=config.seed)
    splits = list(folds.split(x, y))
    candidates = estimators(name in REGRESSION)
    candidates[0].fit(x[splits[0][0]], y[splits[0][0]])  # compiles
    results = np.array([[fitted(each, x, y, *split) for each in candidates] for split in splits])
    cells = [name, f"{len(x)} x {x.shape[1]}", "R²" if name in REGRESSION else "accuracy"]
    for scores, seconds, steps in results.transpose(1, 2, 0):
        cells += [f"{scores.mean():.3f} ± {scores.std():.3f}", f"{np.median(seconds):.2f}"]
        cells += [f"{np.median(steps):.2f}"] if steps.any() else []
    return f"| {' | '.join(cells)} |"


def fitted(
    estimator: Any, x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> list[float]:
    """The score on the rows `test`, the seconds of the fit to the rows `train`, and, of a KAN,
    those of its steps, else 0."""
    from threadpoolctl import threadpool_limits  # which scikit-learn needs

    start = time.perf_counter()
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # of 200 epochs, which the MLPs' defaults are
        estimator.fit(x[train], y[train])
    seconds = time.perf_counter() - start
    history = getattr(estimator, "history_", None)
    return [estimator.score(x[test], y[test]), seconds, history.train_seconds if history else 0.0]


def estimators(regression: bool) -> list[Any]:
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from tinykan.sklearn import KANClassifier, KANRegressor

    ours, theirs = (KANRegressor, MLPRegressor) if regression else (KANClassifier, MLPClassifier)
    scaled = make_pipeline(StandardScaler(), theirs(random_state=0))
    return [ours(), theirs(random_state=0), scaled]


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The inputs `[n, in]` and the targets or classes `[n]` of a table; `housing` is made by a
    formula."""
    from sklearn import datasets

    return getattr(datasets, LOADERS[name])(return_X_y=True) if LOADERS[name] else housing()


def housing(count: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A table in the manner of California's housing: income, age of the houses, rooms, occupants,
    latitude and longitude, and a price in 100,000 dollars that grows with income, room and age,
    near two cities and towards the coast, with 15 % of noise, cut off at 5."""
    rng = np.random.default_rng(seed)
    income, rooms, occupants = (
        rng.lognormal(mean, spread, count)
        for mean, spread in ((1.2, 0.45), (1.65, 0.25), (1.05, 0.25))
    )
    age, latitude = rng.uniform(1, 52, count), rng.uniform(32.5, 42, count)
    coast = rng.uniform(0, 5, count)  # the distance to it, in degrees
    longitude = -124 + 0.9 * (42 - latitude) + coast
    cities = [
        np.exp(-((latitude - north) ** 2) - (longitude + west) ** 2)
        for north, west in ((34, 118.2), (37.7, 122.3))
    ]
    value = 0.45 * income + 0.08 * np.sqrt(age) + 0.3 * np.log(rooms / occupants)
    value = value + 1.5 * sum(cities) - 0.12 * coast
    price = np.clip(value * np.exp(0.15 * rng.standard_normal(count)), 0.15, 5)
    return np.stack([income, age, rooms, occupants, latitude, longitude], axis=-1), price


if __name__ == "__main__":
    run(main, Config)
