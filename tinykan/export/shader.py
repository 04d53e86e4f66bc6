"""Networks as functions of GLSL and WGSL: text alone, with the parameters in it."""

from __future__ import annotations

import re
import string

from tinykan.errors import UserError
from tinykan.export.form import Program
from tinykan.export.shader_definitions import Definitions
from tinykan.export.shader_languages import EXACT_GLSL, EXACT_WAVES, GLSL, WGSL, Language
from tinykan.export.shader_stages import Stages
from tinykan.export.tables import Tables, blocks

# Chromium compiles this much for SwiftShader in about 10 s. The time that it takes for arrays grows
# with the square of their size.
MAX_BYTES = 256 * 1024
MAX_ARRAY_BYTES = 96 * 1024


def glsl_source(program: Program, name: str = "network", *, main: bool = False) -> str:
    """GLSL ES 3.00 that defines `NAME`, from one to four coordinates to as many values as the
    network has, at most four; with `main` also `mainImage`, ready to be pasted into Shadertoy.
    Raises UserError for other numbers, for names that are not allowed or taken, for a network that
    holds no image if `main` is asked for, and if the text is longer than what
    compilers of shaders take in about 10 s."""
    return _source(program, name, GLSL, GLSL_MAIN if main else None)


def wgsl_source(program: Program, name: str = "network", *, main: bool = False) -> str:
    """The same in WGSL; with `main` a vertex shader and a fragment shader, which take the size of
    the picture and the slice from a uniform."""
    return _source(program, name, WGSL, WGSL_MAIN if main else None)


def page_shader(program: Program, tables: Tables | None) -> str:
    """GLSL that defines `network` for a page, whose sines are exact on any GPU. Parameters are in
    the `tables`, if there are any, else in the text."""
    text = _definitions(program, "network", EXACT_GLSL, tables)
    return (EXACT_WAVES if "wave(" in text else "") + (TEXTURE if tables else "") + text


def _source(program: Program, name: str, language: Language, main: str | None) -> str:
    _check_image(program) if main else _check_counts(program, language)
    text = _definitions(program, name, language, None)
    if main:
        text += string.Template(main).substitute(
            name=name, **(_glsl_parts if language is GLSL else _wgsl_parts)(program)
        )
    _check_name(name, text, language, 2 if main else 1)
    text = _header(program, language) + text
    arrays = sum(len(line) for line in text.splitlines() if line.startswith("const "))
    if len(text) > MAX_BYTES or arrays > MAX_ARRAY_BYTES:
        kind, size, limit = (
            ("", len(text), MAX_BYTES)
            if arrays <= MAX_ARRAY_BYTES
            else (" in arrays", arrays, MAX_ARRAY_BYTES)
        )
        raise UserError(
            f"{language.name} of {size:,} bytes{kind}: at most {limit:,} are written, since "
            "compilers of shaders take too long for more; a page has no such limit"
        )
    return text


def _header(program: Program, language: Language) -> str:
    known = program.text.encode("ascii", "replace").decode()
    lines = "".join(f"//   {line}\n" for line in known.splitlines())
    counts = f"{program.in_features} coordinates to {program.out_features} values"
    return f"// {language.name} of a network, {counts}; written by tinykan.\n{lines}"


def _definitions(program: Program, name: str, language: Language, tables: Tables | None) -> str:
    definitions = Definitions(language, tables)
    stages, widths = Stages(definitions), program.widths
    argument, returned = (language.types[n - 1] for n in (widths[0], widths[-1]))
    rest = ",0" * (4 - widths[0])
    start = f"{language.vector}(p{rest})" if widths[0] < 4 else "p"
    if tables:
        size = max(map(blocks, widths))
        body = [f"vec4 a[{size}];vec4 b[{size}];a[0]={start};"]
        names = ["ab"[n % 2] for n in range(len(widths))]
    else:
        letters = string.ascii_lowercase
        names = [letters[n % 26] + (f"{n // 26}_" if n >= 26 else "") for n in range(len(widths))]
        body = [language.declared("a0", start)]
    for n, stage in enumerate(program.stages):
        lines = stages.stage(stage, widths[n], names[n], names[n + 1])
        body += ["{", *lines, "}"] if tables else lines
    value = stages.block(names[-1], "0") + ("" if widths[-1] == 4 else "." + "xyz"[: widths[-1]])
    function = language.function.format(
        type=returned,
        name=name,
        arguments=language.argument.format(type=argument, name="p"),
        body="".join(f"\n{line}" for line in body) + "\n",
        value=value,
    )
    return tidied("\n".join([*definitions.texts, function]) + "\n")


def tidied(text: str) -> str:
    """The text without pairs of brackets that stand directly within another pair."""
    opened: list[int] = []
    pairs: dict[int, int] = {}
    for position, character in enumerate(text):
        if character == "(":
            opened.append(position)
        elif character == ")":
            pairs[opened.pop()] = position
    double = {k for k, end in pairs.items() if pairs.get(k - 1) == end + 1}
    dropped = double | {pairs[k] for k in double}
    return "".join(c for position, c in enumerate(text) if position not in dropped)


def _check_counts(program: Program, language: Language) -> None:
    counts = program.in_features, program.out_features
    if max(counts) > 4:
        raise UserError(
            f"{language.name} is for networks of at most 4 inputs and 4 outputs; this one has "
            f"{counts[0]} and {counts[1]}"
        )


def _check_image(program: Program) -> None:
    counts = program.in_features, program.out_features
    if counts[0] not in (2, 3) or counts[1] not in (1, 3):
        raise UserError(
            "pictures are drawn of networks of 2 or 3 inputs and 1 or 3 outputs; this one has "
            f"{counts[0]} and {counts[1]}"
        )


def _check_name(name: str, text: str, language: Language, uses: int) -> None:
    allowed = re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name)
    if not allowed or name in RESERVED or len(re.findall(rf"\b{name}\b", text)) != uses:
        raise UserError(
            f"name {name!r} cannot be that of the {language.name} function: letters, digits and "
            "single underscores from a letter on are needed, and no word that is taken"
        )


# Words of the two languages that could be taken for names, and are not found in every text.
WORDS = """
active alias as asm attribute bitcast bool break buffer case cast centroid class coherent common
const const_assert continue continuing default diagnostic discard do double else enable enum extern
external false filter fixed flat float fn for goto half highp if image in inline inout input int
interface invariant layout let loop lowp main mainImage matrix mediump namespace noinline noise out
output override packed partition patch precise precision private public read readonly requires
resource restrict return sample sampler shared sizeof smooth static struct subroutine superp switch
template texture this true typedef uint uniform union unsigned using uv var varying vec2 vec3 vec4
vertex fragment void volatile while workgroup write writeonly
abs acos all any asin atan ceil clamp cos cosh cross degrees determinant distance dot equal exp exp2
faceforward floor fract fragColor fragCoord frame inverse inversesqrt isinf isnan length log log2
max min mix mod modf normalize not outerProduct pixel pow radians reflect refract round select sign
sin sinh sqrt step tan tanh transpose trunc
"""
RESERVED = set(WORDS.split())

TEXTURE = """\
uniform highp sampler2D parameters;
vec4 row(int n){return texelFetch(parameters,ivec2(n&1023,n>>10),0);}
mat4 rows(int n,int step){return mat4(row(n),row(n+step),row(n+2*step),row(n+3*step));}
mat4 rows_at(ivec4 n){return mat4(row(n.x),row(n.y),row(n.z),row(n.w));}
"""

GLSL_MAIN = """
void mainImage(out vec4 fragColor,in vec2 fragCoord)
{
    vec2 p=(2.*fragCoord-iResolution.xy)/min(iResolution.x,iResolution.y)*vec2(1,-1);
$slice    vec3 color=.5+.5*vec3($name($argument));
    fragColor=vec4(abs(p.x)>1.||abs(p.y)>1.?vec3(0):color,1);
}
"""
_SLICE = """\
    // From slice to slice with the mouse, or with time. The first is -1; the last is below 1.
    float s=iMouse.z>0.?2.*iMouse.x/iResolution.x-1.:-cos(.3*iTime);
"""
WGSL_MAIN = """
struct Frame{size:vec2f,$member}
@group(0) @binding(0) var<uniform> frame:Frame;

@vertex fn vertex(@builtin(vertex_index) n:u32)->@builtin(position) vec4f{
    return vec4f(select(-1.,3.,n==1),select(-1.,3.,n==2),0,1);
}

@fragment fn fragment(@builtin(position) pixel:vec4f)->@location(0) vec4f{
    let p=(2*pixel.xy-frame.size)/min(frame.size.x,frame.size.y);
    let color=.5+.5*vec3f($name($argument));
    return vec4f(select(color,vec3f(0),any(abs(p)>vec2f(1))),1);
}
"""


def _glsl_parts(program: Program) -> dict[str, str]:
    slices = program.in_features == 3
    return {"slice": _SLICE if slices else "", "argument": "vec3(s,p)" if slices else "p"}


def _wgsl_parts(program: Program) -> dict[str, str]:
    slices = program.in_features == 3
    return {
        "member": "slice:f32" if slices else "unused:f32",
        "argument": "vec3f(frame.slice,p)" if slices else "p",
    }
