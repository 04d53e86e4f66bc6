"""Networks as C: one C99 file with the parameters and a function, that needs libm alone."""

from __future__ import annotations

import itertools
import re
import textwrap

from tinykan.errors import UserError
from tinykan.export import c_text
from tinykan.export.c_stages import Stages, padded
from tinykan.export.form import Program


def c_source(
    program: Program, name: str = "network", *, main: bool = False, version: str = ""
) -> str:
    """A file that defines `void NAME(const float *in, float *out)`; with `main`, a program that
    writes the image that the network holds as a PGM or PPM file of any size. Raises UserError for
    names that C does not allow or that are taken, for parameters beyond float32, and for a `main`
    of a network that holds no image."""
    if main and not (program.in_features in (2, 3) and program.out_features in (1, 3)):
        raise UserError(
            "--main writes images, which are networks of 2 or 3 inputs and 1 or 3 outputs; this "
            f"one has {program.in_features} and {program.out_features}"
        )
    stages = Stages()
    for stage, width in zip(program.stages, program.widths, strict=False):
        stages.add(stage, width, last=stage is program.stages[-1])
    code = "\n".join([*stages.arrays, *stages.functions])
    names = {"name": name, "in_features": program.in_features}
    names |= {"out_features": program.out_features}
    function = c_text.FUNCTION.format(
        **names,
        inputs=_counted(program.in_features),
        outputs=_counted(program.out_features),
        body=_body(program),
    )
    helpers = _helpers(code)
    includes = {"math.h", "stdint.h"} | ({"string.h"} if "memcpy" in helpers else set())
    if main:
        includes |= {"stdio.h", "stdlib.h"}
        function += c_text.MAIN.format(**names, **_main_options(program))
    included = "".join(f"#include <{file}>\n" for file in sorted(includes))
    text = "\n".join(part for part in (included, c_text.PRAGMA, helpers, code, function) if part)
    _check_name(name, text, uses=3 if main else 2)
    return _header(program, names, version) + text


def _header(program: Program, names: dict[str, object], version: str) -> str:
    known = program.text.replace("*/", "* /").encode("ascii", "replace").decode()
    lines = [part for line in known.splitlines() for part in textwrap.wrap(line, 90)]
    described = "\n".join(f" *     {line}" for line in lines)
    return c_text.HEADER.format(**names, version=version, text=described)


def _counted(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"


def _body(program: Program) -> str:
    """Stages write into two vectors in turn, the last one into the output."""
    inner = [padded(width) for width in program.widths[1:-1]]
    sizes = [max(inner[first::2], default=0) for first in (0, 1)]
    vectors = [f"{name}[{size}]" for name, size in zip("ab", sizes, strict=True) if size]
    lines = [f"float {', '.join(vectors)};"] if vectors else []
    places = ["in", *("ab"[n % 2] for n in range(len(inner))), "out"]
    for index, (source, target) in enumerate(itertools.pairwise(places), 1):
        lines.append(f"stage_{index}({source}, {target});")
    return "\n".join(f"    {line}" for line in lines)


def _main_options(program: Program) -> dict[str, object]:
    slices = program.in_features == 3
    options = c_text.SLICES if slices else dict.fromkeys(c_text.SLICES, "")
    place = {"x": 1, "y": 2, "file": 5, "arguments": 6} if slices else {}
    kind = 5 if program.out_features == 1 else 6
    return {"x": 0, "y": 1, "file": 3, "arguments": 4, "kind": kind, **options, **place}


def _helpers(code: str) -> str:
    """Those that the code calls, and those that they call."""
    found: list[str] = []
    for name, text in reversed(c_text.HELPERS.items()):
        if re.search(rf"\b{name}\(", code + "".join(found)):
            found.insert(0, text)
    return "\n".join(found)


def _check_name(name: str, text: str, uses: int) -> None:
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    allowed = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and name not in c_text.RESERVED
    if not allowed or len(re.findall(rf"\b{name}\b", code)) != uses:
        raise UserError(
            f"name {name!r} cannot be that of the C function: letters, digits and underscores from "
            "a letter on are needed, and neither a word of C, nor of its library, nor of the file"
        )
