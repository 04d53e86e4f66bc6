"""How GLSL and WGSL write the same things: numbers, operations on vectors, declarations, loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tinykan.export.printing import Syntax, number

DIGITS = (
    7  # of weights: one less than the shortest that tell float32 apart saves a tenth of the text
)

# Of GLSL ES 3.00, where functions of vectors also take numbers, but comparisons do not. The
# hyperbolic tangent of large numbers is NaN on some GPUs.
GLSL_OPERATIONS = {
    "add": "({}+{})", "subtract": "({}-{})", "multiply": "({}*{})", "divide": "({}/{})",
    "less": "lessThan(vec4({}),vec4({}))", "where": "mix(vec4({2}),vec4({1}),{0})",
    "negate": "(-{})", "maximum": "max(vec4({}),vec4({}))", "minimum": "min(vec4({}),vec4({}))",
    "floor": "floor({})", "abs": "abs({})", "sqrt": "sqrt({})", "exp": "exp({})", "log": "log({})",
    "sin": "sin({})", "cos": "cos({})", "tanh": "tanh(clamp({},-15.,15.))",
}  # fmt: skip
WGSL_OPERATIONS = {
    name: text.replace("vec4(", "vec4f(") for name, text in GLSL_OPERATIONS.items()
} | {
    "less": "(vec4f({})<vec4f({}))",
    "where": "select(vec4f({2}),vec4f({1}),{0})",
    "tanh": "tanh(clamp({},vec4f(-15.),vec4f(15.)))",
}


def literal(value: float, digits: int = 9) -> str:
    """A number of float32 in its shortest form, in nine digits as it is, or rounded to fewer.
    Raises UserError where float32 has no such number."""
    text = number(float(f"{value:.{digits}g}")).removesuffix(".0")
    sign, digits_after = ("-", text[1:]) if text.startswith("-") else ("", text)
    short = digits_after.removeprefix("0") if digits_after.startswith("0.") else digits_after
    return "0" if short == "0" else sign + short


def in_formula(value: float) -> str:
    """The same with a point, as GLSL needs it outside constructors, and in brackets if negative."""
    text = literal(value)
    text = text if "." in text or "e" in text else f"{text}."
    return f"({text})" if text.startswith("-") else text


@dataclass(frozen=True)
class Language:
    """Formats of what a shader consists of. Vectors have four numbers, and matrices four vectors.

    `equal` is a condition of two vectors of integers, and `chosen` takes a condition, then a vector
    where it holds, and one where it does not.
    """

    name: str
    operations: dict[str, str]
    vector: str
    matrix: str
    integers: str
    variable: str
    function: str
    array: str
    loop: str
    equal: str
    not_less: str
    chosen: str
    types: tuple[str, str, str, str]
    argument: str

    def syntax(self, x: str, parameter: Callable[[int], str]) -> Syntax:
        declaration = self.variable.format(type=self.vector, name="{name}", value="{value}")
        return Syntax(self.operations, in_formula, declaration, x, parameter)

    def declared(self, name: str, value: str, kind: str | None = None) -> str:
        """A variable, of vectors unless a type is given."""
        return self.variable.format(type=kind or self.vector, name=name, value=value)

    def constant(self, values: list[float], digits: int = DIGITS) -> str:
        """A vector, or a matrix column by column; of one number if all are the same."""
        kind = self.vector if len(values) == 4 else self.matrix
        texts = [literal(value, digits) for value in values]
        if len(values) == 4 and len(set(texts)) == 1:
            texts = texts[:1]
        return f"{kind}({','.join(texts)})"


GLSL = Language(
    name="GLSL",
    operations=GLSL_OPERATIONS,
    vector="vec4",
    matrix="mat4",
    integers="ivec4",
    variable="{type} {name}={value};",
    function="{type} {name}({arguments}){{{body}return {value};}}",
    array="const {type} {name}[{count}]={type}[]({items});",
    loop="for(int {name}=0;{name}<{count};{name}++){{",
    equal="equal({},{})",
    not_less="greaterThanEqual({},{})",
    chosen="mix(vec4(0),{1},{0})",
    types=("float", "vec2", "vec3", "vec4"),
    argument="{type} {name}",
)
WGSL = Language(
    name="WGSL",
    operations=WGSL_OPERATIONS,
    vector="vec4f",
    matrix="mat4x4f",
    integers="vec4i",
    variable="var {name}={value};",
    function="fn {name}({arguments})->{type}{{{body}return {value};}}",
    array="const {name}=array<{type},{count}>({items});",
    loop="for(var {name}=0;{name}<{count};{name}++){{",
    equal="({}=={})",
    not_less="({}>={})",
    chosen="select(vec4f(0),{1},{0})",
    types=("f32", "vec2f", "vec3f", "vec4f"),
    argument="{name}:{type}",
)

# Arithmetic that is as exact on every GPU: GLSL promises no more than 11 bits of sin(x), a network
# of sines multiplies the error by 30 in each layer. The angle less its nearest multiple of pi, then
# Taylor's series.
EXACT_WAVES = """\
vec4 wave(vec4 x,bool even){vec4 h=x*.31830987,n=floor(h+.5),s=1.-2.*(n-2.*floor(n*.5));
vec4 y=(h-n)*3.1415927,z=y*y;
if(even)return s*(1.+z*(-.5+z*(.041666668+z*(-.0013888889+z*(2.4801588e-5+z*(-2.7557319e-7
+z*2.0876757e-9))))));
return s*y*(1.+z*(-.16666667+z*(.008333334+z*(-1.9841270e-4+z*(2.7557319e-6
+z*-2.5052108e-8)))));}
"""
EXACT_GLSL = replace(
    GLSL, operations=GLSL_OPERATIONS | {"sin": "wave({},false)", "cos": "wave({},true)"}
)
