"""Names of columns that formulas can have."""

from __future__ import annotations

import importlib.util
import keyword
import re
import unicodedata
from collections.abc import Sequence

CONSTANTS = ("E", "I", "N", "O", "Q", "S", "pi", "oo", "zoo")  # of SymPy, and its functions


def symbol_names(names: Sequence[str]) -> list[str]:
    """Different identifiers that SymPy reads as symbols, for different names; those that are such
    stay as they are.

    >>> symbol_names(["mass", "lambda", "drag (N)"])
    ['mass', 'lambda_', 'drag_N']
    """
    safe = {name: name for name in names if _identifier(name) == name}
    for name in names:
        if name not in safe:
            new = _identifier(name)
            while new in safe.values() or new in names:
                new += "_"
            safe[name] = new
    return [safe[name] for name in names]


def _identifier(name: str) -> str:
    """The name, changed if it is no identifier or means something to Python or SymPy."""
    text = unicodedata.normalize("NFKC", name)
    if not text.isidentifier():
        text = re.sub(r"\W+", "_", text).strip("_") or "x"
    if not text.isidentifier():
        text = f"x{text}"
    return f"{text}_" if _has_a_meaning(text) else text


def _has_a_meaning(name: str) -> bool:
    if keyword.iskeyword(name) or name in CONSTANTS:
        return True
    if importlib.util.find_spec("sympy") is None:  # then no formulas are written
        return False
    import sympy

    try:
        return sympy.sympify(name) != sympy.Symbol(name)  # beta, gamma, max and many more
    except (sympy.SympifyError, TypeError):
        return True
