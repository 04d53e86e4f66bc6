"""The errors that a user can cause: one line each, shown by the scripts without a traceback."""

import math
from typing import Any

import numpy as np


class UserError(ValueError):
    """What was wrong, its value, and what is allowed, in one line."""

    status = 1  # with which a script then exits


def lookup(kind: str, name: str, table: dict) -> Any:
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
    try:
        low, high = domain
        bounded = math.isfinite(low) and math.isfinite(high) and low < high
    except (TypeError, ValueError):
        bounded = False
    if not bounded:
        raise UserError(f"domain {domain!r} must be two finite numbers, the lower one first")
