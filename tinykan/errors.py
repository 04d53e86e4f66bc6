"""The errors and warnings that users see: one line each, without a traceback in the scripts."""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


class UserError(ValueError):
    """What was wrong, its value, and what is allowed, in one line."""

    status = 1  # with which a script then exits


class DivergenceError(UserError):
    """The loss or the weights became infinite or NaN, or the loss exploded."""


def warn(message: str) -> None:
    """Prints one line on standard error."""
    print(f"warning: {message}", file=sys.stderr)


def need(module: str, *, extra: str, purpose: str) -> Any:
    """The optional `module`, imported. Raises a UserError that names the `extra` to install and the
    `purpose` that needs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.split(".")[0].replace("sklearn", "scikit-learn")
        how = f"pip install {package} (tinykan's extra '{extra}' has it)"
        raise UserError(f"{purpose} needs {package}; install it with: {how}") from None


def other_names(**names: str) -> Callable[[F], F]:
    """Decorates a function: keywords of other libraries are refused with what tinykan has."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if given := [f"{name}= is {names[name]}" for name in names if name in kwargs]:
                raise UserError(f"in tinykan, {', '.join(given)}")
            return function(*args, **kwargs)

        return cast(F, checked)

    return decorate


class Families(dict[str, Any]):
    """Things by name, and by the name of a family and a number: sine25 is `of["sine"](25.0)`."""

    def __init__(self, entries: dict[str, Any]) -> None:
        super().__init__(entries)
        self.of: dict[str, Callable[[float], Any]] = {}

    def __missing__(self, name: str) -> Any:
        family = name.rstrip(".0123456789")
        return self.of[family](float(name[len(family) :]))

    def __contains__(self, name: object) -> bool:
        with contextlib.suppress(KeyError, ValueError):
            return isinstance(name, str) and self[name] is not None
        return False


def lookup(kind: str, name: str, table: dict[str, Any]) -> Any:
    """`table[name]`, or a UserError that lists the valid names."""
    if not isinstance(name, str) or name not in table:
        raise UserError(f"unknown {kind} {name!r}; choose from {', '.join(table)}")
    return table[name]


def check_integer(name: str, value: int, low: int, high: int | None = None) -> None:
    """Raises a UserError unless `value` is a whole number in the range."""
    allowed = f"at least {low}" if high is None else f"from {low} to {high}"
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        raise UserError(f"{name} {value!r} must be a whole number {allowed}")


def check_domain(domain: tuple[float, float]) -> None:
    """Raises a UserError unless `domain` is two finite numbers, the lower one first."""
    with contextlib.suppress(TypeError, ValueError):
        low, high = domain
        if -math.inf < low < high < math.inf:
            return
    raise UserError(f"domain {domain!r} must be two finite numbers, the lower one first")
