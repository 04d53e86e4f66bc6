"""Fits the images and functions of docs/gallery.md, and writes that page."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tinykan.checkpoint import write_atomically
from tinykan.errors import UserError, lookup, need
from tinykan.runs.command_line import option, run
from tinykan.tasks.images import load_image, save_image, to_pillow

ROOT = Path(__file__).parents[1]
PAGE, PICTURES, RUNS = ROOT / "docs/gallery.md", ROOT / "docs/gallery", ROOT / "runs/gallery"
RESULTS = "gallery.json"  # what was measured, in docs/gallery

BEGINNING = """# Gallery

Images and functions, fitted by networks of a few thousand parameters. Of images the original is on
the left and the fit on the right. `python scripts/gallery.py` runs these commands and writes this
page: scores and seconds are those that it measured. Later runs find what is compiled in a cache.
[Another fit of the camera](export/camera.html) is a page to zoom into, as [Export](export.md) says.

Measured on """


@dataclass(kw_only=True)
class Config:
    """Fits the images and functions of the gallery, in a process each and in about 5 minutes on 2
    cores, and writes docs/gallery.md with their pictures, scores and times."""

    name: str | None = option(None, "of one entry (default: all)", positional=True)


@dataclass(frozen=True)
class Entry:
    """A fit: what it shows, and the options of fit-image, if there is an image, or fit-function."""

    text: str
    options: str

    @property
    def command(self) -> str:
        kind = "function" if self.options.startswith("--function") else "image"
        return f"tinykan fit-{kind} {self.options}"


ENTRIES = {
    "camera": Entry(
        "A photograph: splines on the coordinates, then edges of sines and cosines.",
        "images/camera.png --size 96 --parameters 9000 --steps 1000",
    ),
    "camera-siren": Entry(
        "The same on sines, as in SIREN.",
        "images/camera.png --size 96 --model siren --parameters 9000 --steps 1000 --lr 0.002",
    ),
    "astronaut": Entry(
        "A photograph in color, on edges of sines and cosines.",
        "images/astronaut.png --color --size 96 --model siren-kan --parameters 12000 --steps 1000",
    ),
    "rings": Entry(
        "Rings that become narrower; made by scripts/gallery.py.",
        "runs/gallery/rings.png --model siren --parameters 6000 --steps 800 --lr 0.002",
    ),
    "plasma": Entry(
        "Smooth colors, wider than high; made by scripts/gallery.py.",
        "runs/gallery/plasma.png --color --parameters 2000 --steps 500",
    ),
    "zigzag": Entry("A function with corners, on splines.", "--function zigzag"),
    "chirp": Entry(
        "A sine whose frequency grows; L-BFGS after Adam.",
        "--function chirp --steps 300 --lbfgs 200",
    ),
    "five_peaks": Entry(
        "Five narrow peaks, on Gaussians.", "--function five_peaks --model rbf --steps 1000"
    ),
    "exp_sin": Entry(
        "A function of two variables, which a KAN of this depth can be exactly.",
        "--function exp_sin --parameters 500 --depth 1 --steps 500 --lbfgs 100",
    ),
    "product_sqrt": Entry(
        "One whose slope is infinite at an edge.",
        "--function product_sqrt --parameters 500 --depth 1 --steps 500 --lbfgs 100",
    ),
}


def main(config: Config) -> None:
    need("matplotlib", extra="demo", purpose="the gallery")
    need("scipy", extra="lbfgs", purpose="the gallery")
    entries = {config.name: lookup("entry", config.name, ENTRIES)} if config.name else ENTRIES
    RUNS.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    _draw_images()
    results = PICTURES / RESULTS
    measured = json.loads(results.read_text()) if results.exists() else {}
    for name, entry in entries.items():
        measured[name] = _measure(name, entry)
        print(name, measured[name], flush=True)
    write_atomically(results, (json.dumps(measured, indent=1) + "\n").encode())
    write_atomically(PAGE, page(measured).encode())


def _draw_images() -> None:
    """The images that are no photographs."""
    x, y = np.meshgrid(np.linspace(-1, 1, 96), np.linspace(-1, 1, 96))
    save_image(np.cos(40 * (x**2 + y**2) / 2), RUNS / "rings.png")
    x, y = np.meshgrid(np.linspace(-2, 2, 128), np.linspace(-1, 1, 64))
    waves = (np.sin(3 * x + 2 * y), np.sin(4 * y - x * x), np.cos(3 * np.hypot(x - 1, y)))
    save_image(np.stack(waves, axis=-1), RUNS / "plasma.png")


def _measure(name: str, entry: Entry) -> dict[str, Any]:
    """Runs the command, writes its thumbnail, and returns what the page says about it."""
    folder = RUNS / name
    more = ["--out", str(folder), "--overwrite", "--quiet"]
    command = [sys.executable, "-m", "tinykan.commands", *shlex.split(entry.command)[1:], *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{name}: {done.stderr.strip()}")
    summary = json.loads((folder / "summary.json").read_text())
    picture = _of_image(summary) if "psnr" in summary else Image.open(folder / "fit.png")
    picture = picture.convert("RGB")
    picture.thumbnail((720, 720), Image.Resampling.LANCZOS)
    picture.save(PICTURES / f"{name}.webp", "WEBP", quality=82, method=6)
    score = f"{summary['psnr']:.1f} dB" if "psnr" in summary else f"RMSE {summary['rmse']:.1e}"
    seconds = {k: round(summary[f"{k}_seconds"], 1) for k in ("train", "compile")}
    about = {k: summary[k] for k in ("parameters", "steps", "device", "renderer")} | {
        "cores": os.cpu_count()
    }
    return {"score": score, **about, **seconds, "versions": summary["versions"]}


def _of_image(summary: dict[str, Any]) -> Image.Image:
    """The image and its fit side by side, enlarged by a whole factor."""
    options, folder = summary["config"], Path(summary["config"]["out"])
    original = load_image(ROOT / options["image"], size=options["size"], color=options["color"])
    fitted = load_image(folder / "reconstruction.png", color=options["color"])
    gap = np.ones((len(original), 2, original.shape[2]), dtype=original.dtype)
    both = to_pillow(np.concatenate([original, gap, fitted], axis=1))
    factor = max(1, 720 // both.width)
    return both.resize((factor * both.width, factor * both.height), Image.Resampling.NEAREST)


def page(measured: dict[str, Any]) -> str:
    """docs/gallery.md."""
    known = {name: entry for name, entry in ENTRIES.items() if name in measured}
    one = measured[next(iter(known))]
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    parts = [
        f"{BEGINNING}{one['device']} ({one['renderer']}, {one['cores']} cores), with {versions}.\n"
    ]
    for name, entry in known.items():
        found = measured[name]
        parts.append(
            f"## {name}\n\n{entry.text}\n\n```sh\n{entry.command}\n```\n\n"
            f"{found['score']}, {found['parameters']:,} parameters, {found['steps']:,} steps; "
            f"{found['train']:.1f} s of training, {found['compile']:.1f} s of compilation\n\n"
            f"![{entry.text}](gallery/{name}.webp)\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    run(main, Config)
