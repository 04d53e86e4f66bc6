"""Times a training step and a forward pass of tinykan and of other KAN libraries."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import multiprocessing
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from contenders import CONTENDERS
from equation_contenders import EQUATIONS

from tinykan import device
from tinykan.errors import UserError, lookup
from tinykan.runs.command_line import option, run
from tinykan.runs.folder import Wanted
from tinykan.runs.pictures import drawing
from tinykan.runs.records import versions

EVERY = CONTENDERS | EQUATIONS
PAUSE = 0.2  # seconds between contenders, in which the threads of the last one fall asleep
WARM, TIMED = 3, 3  # steps of each turn: to wake threads and caches, and to be measured


@dataclass
class Config:
    """Times one training step (forward, gradients, Adam; float32) and a forward pass alone of a
    network in tinykan and in the PyTorch and JAX libraries that are installed: each in a process of
    its own, taking turns; medians over the turns, compile time apart. "compiled" is torch.compile,
    on a GPU with CUDA graphs. PyTorch and JAX run on an NVIDIA GPU if tinykan does, else on the
    CPU; the memory is that of the host."""

    grids: str = option("5,50", "numbers of intervals")
    batches: str = option("4096", "batch sizes")
    networks: str = option("32-64-64-64-1", "widths of the layers, networks separated by commas")
    only: str | None = option(
        None, "names of contenders, separated by commas (default: all but those of Poisson)"
    )
    rounds: int = option(10, "turns of each, of 3 timed steps and passes", minimum=1)
    limit: float = option(3.0, "leave a contender out beyond the size at which its step takes X s")
    device: str | None = option(None, "tinygrad device (default: the best one here)")
    out: str | None = option(
        None,
        "folder for bench.json, bench.md and bench.png (default: runs/bench, with a number if that "
        "has the results of other options)",
    )
    overwrite: bool = option(
        False, "write into that folder, whatever it holds: results of other options are lost"
    )


def main(config: Config) -> None:
    place = device.select(config.device)
    chosen = config.only.split(",") if config.only else list(CONTENDERS)
    packages = {name: lookup("contender", name, EVERY).packages for name in chosen}
    names = [n for n in chosen if all(map(importlib.util.find_spec, packages[n]))]
    print("left out, not installed:", ", ".join(n for n in chosen if n not in names) or "none")
    drawn = len(set(_numbers(config.grids))) > 1 and drawing() is not None
    record = {k: v for k, v in vars(config).items() if k not in ("out", "overwrite", "only")}
    record |= {"device": place, "contenders": names}
    wanted = Wanted(config.out, "runs/bench", config.overwrite)
    out = wanted.folder("bench.json", lambda found: found.get("config", record) == record)
    out.mkdir(parents=True, exist_ok=True)
    results: list[dict] = []
    for batch in _numbers(config.batches):
        for network in config.networks.split(","):
            widths = _numbers(network, "-")
            slow: set[str] = set()
            for grid in _numbers(config.grids):
                left = [n for n in names if n not in slow]
                rows = measure(left, grid, batch, widths, place, config.rounds)
                slow |= {r["name"] for r in rows if "failed" in r or r["ms"] > 1000 * config.limit}
                results += rows
                print(table(rows), flush=True)
                found = {"results": results, "config": record, "versions": versions()}
                text = json.dumps({**found, "machine": _machine()}, indent=2)
                (out / "bench.json").write_text(text + "\n")
    (out / "bench.md").write_text(table(results) + "\n")
    if drawn and len({r["grid"] for r in results}) > 1:
        plot(results, out / "bench.png")
    print(f"in {out}")


def measure(
    names: list[str], grid: int, batch: int, widths: list[int], place: str, rounds: int
) -> list[dict]:
    """One row for each contender: seconds of a step and of a forward pass in each turn, and the
    medians in milliseconds."""
    context = multiprocessing.get_context("spawn")
    workers = {}
    for name in names:
        pipe, theirs = context.Pipe()
        arguments = (theirs, name, grid, batch, widths, place)
        process = context.Process(target=work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        # One after the other: a compiling contender would disturb the others.
        try:
            about = pipe.recv()
        except EOFError:  # a process out of memory is killed
            about = {"failed": "the process was ended"}
        workers[name] = (process, pipe, about)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, (_, pipe, about) in workers.items():
            if "failed" not in about:
                time.sleep(PAUSE)
                pipe.send("step")
                times[name].append(pipe.recv())
    rows = []
    for name, (process, pipe, about) in workers.items():
        network = "-".join(map(str, widths))
        row = {"name": name, "grid": grid, "batch": batch, "network": network, **about}
        if times[name]:
            pipe.send("stop")
            steps, passes = zip(*times[name], strict=True)
            row |= {"ms": 1000 * median(steps), "forward_ms": 1000 * median(passes)}
            row |= {"peak_mb": pipe.recv(), "times": steps, "forward_times": passes}
        process.join(30)
        rows.append(row)
    return rows


def work(pipe, name: str, grid: int, batch: int, widths: list[int], place: str) -> None:
    """A contender's process: builds and warms up, then takes steps on request."""
    contender = EVERY[name]
    try:
        start = time.perf_counter()
        rng = np.random.default_rng(0)
        x = rng.uniform(-1, 1, (batch, widths[0])).astype(np.float32)
        y = rng.normal(size=(batch, widths[-1])).astype(np.float32)
        step, forward, about = contender.build(widths, grid, x, y, place)
        for _ in range(3):
            step()
        compiled = time.perf_counter() - start
        for _ in range(3):
            forward()
        pipe.send({"compile_seconds": compiled, **about})
    except Exception as error:  # a library may fail in its own way; the others are still measured
        pipe.send({"failed": " ".join(f"{type(error).__name__}: {error}".split())[:200]})
        return
    while pipe.recv() == "step":
        pipe.send((seconds(step), seconds(forward)))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def seconds(run: Callable[[], None]) -> float:
    for _ in range(WARM):
        run()
    start = time.perf_counter()
    for _ in range(TIMED):
        run()
    return (time.perf_counter() - start) / TIMED


def table(rows: list[dict]) -> str:
    """The results in Markdown; ratios are to tinykan's spline of the same size."""
    named = ("tinykan spline", "tinykan Poisson")
    ours = {_size(r): r["ms"] for r in rows if r["name"] in named and "ms" in r}
    lines = [
        "| library | intervals | batch | network | ms per step | ratio | forward, ms | compile, s "
        "| peak, MB | kernels | parameters |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        size = f"{row['name']} | {row['grid']} | {row['batch']} | {row['network']}"
        if "failed" in row:
            lines.append(f"| {size} | {row['failed']} | | | | | | |")
            continue
        ratio = f"{row['ms'] / ours[_size(row)]:.2f}" if _size(row) in ours else ""
        step, forward = (f"{ms:.{1 if ms >= 10 else 2}f}" for ms in (row["ms"], row["forward_ms"]))
        lines.append(
            f"| {size} | {step} | {ratio} | {forward} | {row['compile_seconds']:.1f} "
            f"| {row['peak_mb']:.0f} | {row.get('kernels', '')} | {row['parameters']} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict], path: Path) -> None:
    """Milliseconds against the number of intervals, both logarithmic, a line for each library;
    dotted lines are those of torch.compile."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    axis = figure.subplots()
    names = dict.fromkeys(r["name"] for r in rows)
    plain = dict.fromkeys(name.removesuffix(" compiled") for name in names)
    colors = {name: colormaps["tab20"](n % 20) for n, name in enumerate(plain)}
    for name in names:
        points = sorted((r["grid"], r["ms"]) for r in rows if r["name"] == name and "ms" in r)
        if not points:
            continue
        style: dict[str, Any] = {"linestyle": "--" if name in plain else ":"}
        if name.startswith("tinykan"):
            style = {"linewidth": 2.5}
        style["color"] = colors[name.removesuffix(" compiled")]
        axis.loglog(*zip(*points, strict=True), marker="o", markersize=4, label=name, **style)
    axis.set(xlabel="intervals of the grid", ylabel="ms per training step")
    axis.grid(True, which="both", linewidth=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)


def _size(row: dict) -> tuple[int, int, str]:
    return row["grid"], row["batch"], row["network"]


def _numbers(text: str, separator: str = ",") -> list[int]:
    try:
        numbers = [int(part) for part in text.split(separator)]
    except ValueError:
        raise UserError(f"{text!r}: whole numbers separated by {separator!r} are needed") from None
    if min(numbers) < 1:
        raise UserError(f"{text!r}: numbers must be at least 1")
    return numbers


def _machine() -> dict[str, str]:
    libraries = {}
    for package in ("torch", "flashkan", "inkan", "pykan", "kanditioned", "jax", "jaxkan"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            libraries[package] = importlib.metadata.version(package)
    return {"machine": platform.machine(), "cores": str(multiprocessing.cpu_count())} | libraries


if __name__ == "__main__":
    run(main, Config)
