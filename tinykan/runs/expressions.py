"""Parsing of objects that are written as they print: 'BSpline(8, order=3)' in a command line."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from tinykan.errors import UserError

Kinds = Mapping[str, Callable[..., Any]]


def construct(kind: str, text: str, kinds: Kinds, former: Kinds | None = None) -> list[Any]:
    """The objects that `text` names, separated by commas, each of one of `kinds` (or of its
    `former` names, which no message lists): with options, which are literals, or by name alone.
    Nothing in it is executed. Raises UserError for anything else."""
    known = {**kinds, **(former or {})}
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise _unreadable(kind, text, kinds) from None
    return [
        _construct(kind, text, node, known, kinds)
        for node in (tree.elts if isinstance(tree, ast.Tuple) else [tree])
    ]


def _construct(kind: str, text: str, node: ast.expr, known: Kinds, kinds: Kinds) -> Any:
    call = node if isinstance(node, ast.Call) else ast.Call(func=node, args=[], keywords=[])
    if not isinstance(call.func, ast.Name) or call.func.id not in known:
        raise _unreadable(kind, text, kinds)
    try:
        positional = [ast.literal_eval(a) for a in call.args]
        named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except ValueError:
        raise _unreadable(kind, text, kinds) from None
    try:
        return known[call.func.id](*positional, **named)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        reason = str(error).replace(".__init__()", "")
        raise UserError(f"{kind} {text!r}: {reason}") from None


def _unreadable(kind: str, text: str, kinds: Kinds) -> UserError:
    return UserError(
        f"unknown {kind} {text!r}; choose from {', '.join(kinds)}, with options as in NAME(5)"
    )
