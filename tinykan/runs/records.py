"""What the record of a run says: options with the values that were used, and versions; and whether
two records are of the same run."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tinykan import device
from tinykan.errors import UserError
from tinykan.networks import Encoding, Network
from tinykan.runs.options import VOLATILE, Options
from tinykan.runs.presets import ENCODINGS, network_for
from tinykan.tasks.task import Task
from tinykan.variants import Sines

PACKAGES = ("tinykan", "tinygrad", "llvmlite", "numpy", "pillow")


def resolved(options: Options, task: Task, model: Network) -> dict[str, Any]:
    """The options as the record of a run has them: those of `model`, and those at their defaults,
    with the values that were used, and without what does not apply; and the network's widths."""
    chosen = {**asdict(options), **options.settled(task), **network_options(model)}
    return {name: value for name, value in chosen.items() if value is not None}


def network_options(model: Network) -> dict[str, Any]:
    """The options `basis`, `base`, `activation`, `norm` and `encoding` that give `model`, as they
    are written in command lines, and its `widths`."""
    bases = [getattr(layer, "basis", None) for layer in model.layers]
    base = {name for layer in model.layers if (name := getattr(layer, "base", None))}
    return {
        "basis": ", ".join("..." if b is ... else repr(b) for b in _thinned(bases)),
        "base": ", ".join(sorted(base)) or "none",
        "activation": model.activation,
        "norm": model.norm or "none",
        "encoding": encoding_text(model.encoding),
        "widths": model.widths,
    }


def encoding_text(encoding: Encoding | None) -> str:
    """The option that gives the encoding: 'none', 'gaussian(features=64, scale=5.0, seed=0)'."""
    if encoding is None:
        return "none"
    kinds = {kind: name for name, kind in ENCODINGS.items()} | {Sines: "octaves"}
    name = kinds.get(type(encoding), type(encoding).__name__)
    options = [
        f"{field.name}={getattr(encoding, field.name)!r}"
        for field in fields(encoding)  # type: ignore[arg-type]
        if field.init and field.name != "in_features"
    ]
    return f"{name}({', '.join(options)})" if options else name


def _thinned(bases: Sequence[Any]) -> Sequence[Any]:
    """One basis for all layers, or the first and the others', or the first, the hidden and the
    last; or all until they no longer change, and `...`."""
    first, *others = bases
    if all(basis == first for basis in others):
        return [first]
    if all(basis == others[0] for basis in others):
        return [first, others[0]]
    if all(basis == others[0] for basis in others[:-1]):
        return [first, others[0], others[-1]]
    while len(bases) > 1 and bases[-1] == bases[-2]:
        bases = bases[:-1]
    return [*bases, ...]


def comparable(config: Any, options: Options, task: Task) -> dict[str, Any]:
    """What of a recorded configuration says whether its run is the same as another of `task`, with
    `options` of the same kind. Earlier versions left options at their defaults open, and had fewer
    of them: these are resolved as they are now."""
    found = dict(config) if isinstance(config, dict) else {}
    known = {option.name: option for option in fields(options)}
    absent = [n for n, option in known.items() if option.default is not None and n not in found]
    if found and (None in found.values() or "widths" not in found or absent):
        defaults = {n: o.default for n, o in known.items() if o.default is not MISSING}
        given = {name: value for name, value in found.items() if name in known}
        with contextlib.suppress(UserError, TypeError):  # for the record of something else
            completed = replace(options, **{**defaults, **given})
            model = network_for(task, completed, completed.seed)
            found |= resolved(completed, task, model)
    left_out = (*VOLATILE, "task", "data")
    return {k: v for k, v in found.items() if k not in left_out and v is not None}


def difference(earlier: dict[str, Any], ours: dict[str, Any]) -> str:
    names = [n for n in {**earlier, **ours} if earlier.get(n) != ours.get(n)]
    return ", ".join(f"{n} was {earlier.get(n)!r} and is {ours.get(n)!r}" for n in names)


def machine() -> dict[str, Any]:
    """The device, its renderer and its architecture; of a CPU also the number of threads, among
    which sums are divided: another number rounds them differently."""
    about: dict[str, Any] = dict(device.describe())
    return about | ({"threads": device.cpu_threads()} if about["device"] == "CPU" else {})


def versions() -> dict[str, str]:
    """Python's and the packages' versions, for the record."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
