"""Hooks of the documentation site: pages that lie outside docs/, links that hold there and in the
repository alike, the page of the commands, and examples in docstrings."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from pathlib import Path, PurePosixPath
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from tinykan.commands import COMMANDS, module
from tinykan.runs.command_line import flags

ROOT = Path(__file__).parents[1]
HOME = "README.md"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|/|#)[^)#\s]+")
EXAMPLE = re.compile(r"(?:\A|(?<=\n\n))>>> .*?(?=\n\n|\Z)", re.DOTALL)


class Examples(griffe.Extension):
    """Indents the examples of docstrings, which Markdown would take for quotations."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            indented = EXAMPLE.sub(lambda e: textwrap.indent(e[0], "    "), obj.docstring.value)
            obj.docstring.value = indented


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the README as the home page, what pages link to outside docs/ (Markdown as it is, other
    texts as pages that show them), and the page of the commands."""
    files.append(File.generated(config, "reference/commands.md", content=_commands()))
    wanted, seen = [HOME, "CHANGELOG.md"], set()
    for page in files.documentation_pages():
        wanted += _targets(f"docs/{page.src_uri}", page.content_string)
    while wanted:
        path = wanted.pop()
        if path in seen or path.startswith("docs/") or not (ROOT / path).is_file():
            continue
        seen.add(path)
        text = (ROOT / path).read_text(encoding="utf-8")
        if path.endswith(".md"):
            wanted += _targets(path, text)
            files.append(File.generated(config, _place(path), content=text))
        else:
            shown = f"# {path}\n\n````{PurePosixPath(path).suffix[1:]}\n{text.rstrip()}\n````\n"
            level = InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, _place(path), content=shown, inclusion=level))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are right in the repository become those of the site. Markdown inside of
    <details>, which GitHub reads as such, is marked."""
    path = _path(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        place = _place(_target(path, link[0]))
        return os.path.relpath(place, PurePosixPath(page.file.src_uri).parent)

    return LINK.sub(moved, markdown).replace("<details>", "<details markdown>")


def _commands() -> str:
    """Every command with its options, as `--help` has them."""
    text = "# The command tinykan\n"
    for command in COMMANDS:
        config = module(command).Config
        head, _, rest = config.__doc__.partition("\n\n")
        listing = f"```text\n{inspect.cleandoc(rest)}\n```\n\n" if rest else ""
        text += f"\n## {command}\n\n{inspect.cleandoc(head)}\n\n{listing}"
        text += "| option | |\n|---|---|\n"
        for flag in flags(config):
            about = flag.help.replace("%%", "%").replace("|", "\\|")
            about += f": {', '.join(flag.choices)}" if flag.choices else ""
            text += f"| `{flag.text if not flag.positional else flag.text.upper()}` | {about} |\n"
    return text


def _targets(path: str, text: str) -> list[str]:
    return [_target(path, link) for link in LINK.findall(text)]


def _target(path: str, link: str) -> str:
    """The path in the repository that a link in the file at `path` names."""
    return os.path.normpath(PurePosixPath(path).parent / link)


def _place(path: str) -> str:
    """Where the site has a file of the repository."""
    if path == HOME:
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if path.endswith(".md") else f"{path}.md"


def _path(place: str) -> str:
    """The path in the repository of a page of the site."""
    if place == "index.md":
        return HOME
    return f"docs/{place}" if (ROOT / "docs" / place).exists() else place
