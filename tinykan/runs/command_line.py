"""Command lines from dataclasses, and one-line errors."""

from __future__ import annotations

import argparse
import functools
import sqlite3
import sys
import types
import typing
from collections.abc import Callable, Collection
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NoReturn, TypeVar

from tinykan.errors import UserError, lookup

Config = TypeVar("Config")


def option(
    default: Any,
    help: str,
    *,
    choices: Collection[str] | None = None,
    minimum: float | None = None,
    positional: bool = False,
) -> Any:
    """A dataclass field that `parse` turns into a flag; required if the default is MISSING. The
    `choices` may contain more than they list, as Families do."""
    metadata = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "positional": positional,
    }
    return field(default=default, metadata=metadata)


def device_option() -> Any:
    """The option of every script that computes."""
    return option(
        None, "tinygrad device, such as CPU, CPU:LLVM or CUDA (default: the best one here)"
    )


@dataclass(frozen=True)
class Flag:
    """An option as a command line has it: `--steps N`, or a positional argument."""

    text: str
    kind: type
    help: str
    default: Any
    choices: Collection[str] | None
    minimum: float | None
    positional: bool


def flags(config: type[Config]) -> list[Flag]:
    """The command line of a dataclass: its own options before those that it shares with others."""
    hints, own = _hints(config), vars(config).get("__annotations__", {})
    found = []
    for item in sorted(fields(config), key=lambda f: f.name not in own):  # type: ignore[arg-type]
        about = dict(item.metadata)
        text = item.name if about["positional"] else "--" + item.name.replace("_", "-")
        if item.default not in (MISSING, None, False):
            about["help"] += f" (default: {item.default})"
        found.append(Flag(text, _value_type(hints[item.name]), default=item.default, **about))
    return found


def parse(config: type[Config], arguments: list[str] | None = None) -> Config:
    """An instance of the dataclass `config` from the command line; bad arguments end the process
    with one line on standard error and status 2."""
    parser = _Parser(
        description=config.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in flags(config):
        if flag.kind is bool:
            parser.add_argument(flag.text, action="store_true", help=flag.help)
            continue
        keywords: dict[str, Any] = {
            "help": flag.help,
            "type": _number(flag.kind, flag.minimum),
            "choices": flag.choices,
        }
        if not flag.positional:
            metavar = None if flag.choices else {int: "N", float: "X"}.get(flag.kind, "NAME")
            keywords |= {"default": flag.default, "metavar": metavar}
        elif flag.default is not MISSING:
            keywords |= {"nargs": "?", "default": flag.default}
        parser.add_argument(flag.text, **keywords)
    return config(**vars(parser.parse_args(arguments)))


def checked(config: type[Config], values: dict[str, Any]) -> Config:
    """An instance of the dataclass `config` from values such as a file gives, held to what `parse`
    holds arguments to. Raises UserError."""
    known, hints = {f.name: f for f in fields(config)}, _hints(config)  # type: ignore[arg-type]
    accepted = {}
    for name, value in values.items():
        item = lookup("option", name, known)
        kind, about = _value_type(hints[name]), item.metadata
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise UserError(f"{name} {value!r} is not {_ARTICLES[kind]}")
        if about["choices"] and value not in about["choices"]:
            raise UserError(f"{name} {value!r}: choose from {', '.join(about['choices'])}")
        if problem := _below(value, about["minimum"]):
            raise UserError(f"{name} {value} {problem}")
        accepted[name] = value
    return config(**accepted)


def run(main: Callable[[Config], None], config: type[Config]) -> NoReturn:
    """Parses the command line, calls `main`, and exits: 0, or with one line and the status of a
    UserError, 1 for a failure of the file system, or 130 after Ctrl-C."""
    try:
        main(parse(config))
    except UserError as error:
        fail(str(error), error.status)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}", 1)
    except sqlite3.Error as error:
        fail(f"tinygrad's kernel cache cannot be used ({error}); CACHELEVEL=0 does without it", 1)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    sys.exit(0)


_ARTICLES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(message, 2)


def fail(message: str, status: int) -> NoReturn:
    """Ends the process with one line on standard error."""
    print(
        f"\n{sys.argv[0]}: {message}" if sys.stderr.isatty() else f"{sys.argv[0]}: {message}",
        file=sys.stderr,
    )
    sys.exit(status)


# Kept, for every annotation is evaluated.
_hints: Callable[[type], dict[str, Any]] = functools.cache(typing.get_type_hints)


def _value_type(hint: Any) -> type:
    """int for `int | None`."""
    if isinstance(hint, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


def _number(kind: type, minimum: float | None) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {_ARTICLES[kind]}") from None
        if problem := _below(value, minimum):
            raise argparse.ArgumentTypeError(f"{text} {problem}")
        return value

    return convert


def _below(value: Any, minimum: float | None) -> str | None:
    """What is wrong with a value that is not at least `minimum`."""
    allowed = minimum is None or value >= minimum  # NaN is not
    return None if allowed else f"is below the least allowed, {minimum}"
