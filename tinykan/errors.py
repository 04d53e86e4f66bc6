"""The errors that a user can cause: one line each, shown by the scripts without a traceback."""

from typing import Any


class UserError(ValueError):
    """What was wrong, its value, and what is allowed, in one line."""


def lookup(kind: str, name: str, table: dict) -> Any:
    """`table[name]`, or a UserError that lists the valid names."""
    if name not in table:
        raise UserError(f"unknown {kind} {name!r}; choose from {', '.join(table)}")
    return table[name]
