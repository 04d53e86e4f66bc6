"""Tables, figures and text of a report, and its Jinja2 templates for HTML and Markdown.

Every text is escaped for the format, unless a template marks it as safe.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tinykan.errors import need

jinja2 = need("jinja2", extra="study", purpose="a report")
Markup = need("markupsafe", extra="study", purpose="a report").Markup


class Strong(str):
    """Text in bold."""


class Code(str):
    """Text as code."""


@dataclass(frozen=True)
class Table:
    """The first column heads the rows. It and the columns named in `text` are words, the others
    numbers."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    text: frozenset[str] = frozenset()

    @property
    def kinds(self) -> list[str]:
        """Of each column, "text" or "number"."""
        words = {self.columns[0], *self.text}
        return ["text" if column in words else "number" for column in self.columns]


@dataclass(frozen=True)
class Image:
    """A WebP file, and its size on a page in CSS pixels."""

    file: str
    content: bytes
    alt: str
    width: int
    height: int

    @property
    def data(self) -> str:
        return base64.b64encode(self.content).decode()


@dataclass(frozen=True)
class Figure:
    """Images side by side with a caption."""

    images: list[Image]
    caption: str


def render_html(values: Any) -> str:
    """The report `values` as an HTML page that needs no other file."""
    return _environment(_html).get_template("report.html").render(report=values)


def render_markdown(values: Any) -> str:
    """The report `values` as Markdown that names its images."""
    return _environment(_markdown).get_template("report.md").render(report=values)


@cache
def _environment(escape: Callable[[Any], Any]) -> Any:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tinykan.studies"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"paragraphs": _paragraphs, "fence": _fence}
    return environment


def _html(value: Any) -> Any:
    """A value for the template, which escapes all but Markup."""
    match value:
        case Strong():
            return Markup("<strong>{}</strong>").format(str(value))
        case Code():
            return Markup("<code>{}</code>").format(str(value))
    return value


def _markdown(value: Any) -> Any:
    match value:
        case Strong():
            return Markup(f"**{_quoted(value)}**")
        case Code():
            # Nothing can be escaped in a code span; HTML's element takes any text.
            return Markup(f"<code>{_quoted(value)}</code>")
    return value if isinstance(value, Markup) else Markup(_quoted(str(value)))


def _quoted(text: str) -> str:
    """Text on one line without a meaning in Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", re.sub(r"\s+", " ", text))


def _fence(text: str) -> str:
    """A fence that no line of the text closes."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def _paragraphs(markdown: str) -> Any:
    """HTML of paragraphs and lists in Markdown with **strong**, *emphasis*, `code` and links."""
    return Markup("\n".join(map(_paragraph, re.split(r"\n\s*\n", markdown.strip()))))


def _paragraph(markdown: str) -> str:
    text = str(Markup.escape(markdown))
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text, flags=re.DOTALL)
    text = re.sub(r"\*(.+?)\*", r"<em>\1</em>", text, flags=re.DOTALL)
    text = re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>', text)
    if re.match(r"[-*] ", text):
        items = re.split(r"\n[-*] ", text[2:])
        return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in items) + "\n</ul>"
    return f"<p>{text}</p>"
