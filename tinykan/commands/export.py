"""Writes a trained network as a file that needs neither Python nor tinygrad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass
from pathlib import Path

import tinykan
from tinykan import device, load
from tinykan.checkpoint import write_atomically
from tinykan.errors import UserError
from tinykan.export import Program, lowered
from tinykan.export.c import c_source
from tinykan.export.onnx_graph import onnx_bytes
from tinykan.export.originals import fitted_image
from tinykan.export.page import page
from tinykan.export.shader import glsl_source, wgsl_source
from tinykan.runs.command_line import option
from tinykan.runs.run import MODEL


@dataclass(kw_only=True)
class Config:
    """Writes the network of a run, or of a file, as C, as ONNX, as a page to zoom into, or as a
    shader. What it computes is the same, encoding included."""

    run: str = option(MISSING, "folder of a run, or model.safetensors", positional=True)
    to: str = option("html", "format", choices=("c", "onnx", "html", "glsl", "wgsl"))
    out: str | None = option(None, "file to write (default: RUN/model.FORMAT)")
    name: str | None = option(None, "of the function, in C and shaders (default: network)")
    main: bool = option(
        False, "with what draws the picture: a program in C, Shadertoy's mainImage in GLSL"
    )
    slices: int | None = option(
        None, "how many slices a network of 3 inputs holds, for a page", minimum=1
    )


class BadArguments(UserError):
    """Options that do not go together."""

    status = 2


def main(config: Config) -> None:
    _check(config)
    device.select(None)
    path = Path(config.run)
    model = path / MODEL if path.is_dir() else path
    made = FORMATS[config.to](config, lowered(load(model)), model)
    content = made if isinstance(made, bytes) else made.encode()
    out = Path(config.out or model.with_suffix(f".{config.to}"))
    write_atomically(out, content)
    print(f"{len(content):,} bytes in {out}")


def _check(config: Config) -> None:
    if config.to in ("html", "onnx") and (config.main or config.name is not None):
        raise BadArguments(f"--main and --name are of c, glsl and wgsl: {config.to} has none")
    if config.to != "html" and config.slices is not None:
        raise BadArguments(f"--slices {config.slices} is of html: other formats take coordinates")


def _c(config: Config, program: Program, model: Path) -> str:
    name = config.name or "network"
    return c_source(program, name, main=config.main, version=tinykan.__version__)


def _onnx(config: Config, program: Program, model: Path) -> bytes:
    return onnx_bytes(program, version=tinykan.__version__)


def _html(config: Config, program: Program, model: Path) -> str:
    fitted = fitted_image(model)
    return page(program, fitted.name, fitted.images, size=fitted.size, slices=config.slices)


def _glsl(config: Config, program: Program, model: Path) -> str:
    return glsl_source(program, config.name or "network", main=config.main)


def _wgsl(config: Config, program: Program, model: Path) -> str:
    return wgsl_source(program, config.name or "network", main=config.main)


FORMATS: dict[str, Callable[[Config, Program, Path], str | bytes]] = {
    "c": _c,
    "onnx": _onnx,
    "html": _html,
    "glsl": _glsl,
    "wgsl": _wgsl,
}
