"""A page as a list of blocks, written as one HTML file or as Markdown with its pictures beside it.

What comes from outside is text to these blocks: it is escaped in both.
"""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass, field
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1c1d21; --soft: #5c606b; --line: #d9dbe1;
  --paper: #fff; --panel: #f5f6f8; --accent: #0b62a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e8ec; --soft: #a3a8b4; --line: #3a3d46;
  --paper: #16171b; --panel: #202228; --accent: #7cc0f5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 82rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, "Segoe UI",
  Roboto, "Liberation Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .8rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .6rem; }
p, ul { max-width: 46rem; margin: .6rem 0; }
a { color: var(--accent); }
code, pre { font: .875em/1.5 ui-monospace, "Liberation Mono", Menlo, monospace; }
pre { overflow-x: auto; padding: 1rem; background: var(--panel); border-radius: 6px; }
.note { padding: .7rem 1rem; border-left: 4px solid var(--accent); background: var(--panel);
  border-radius: 0 6px 6px 0; }
.scroll { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: 6px; }
.scroll:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: collapse; width: 100%; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .6rem; color: var(--soft); font-size: .875rem; }
caption span { display: inline-block; position: sticky; left: .6rem;
  max-width: calc(100vw - 4rem); }
th, td { padding: .4rem .6rem; text-align: right; white-space: nowrap;
  border-top: 1px solid var(--line); }
th.text, td.text { text-align: left; }
thead th { background: var(--panel); font-weight: 600; vertical-align: bottom;
  white-space: normal; }
tbody th { font-weight: 600; position: sticky; left: 0; background: var(--paper);
  white-space: normal; min-width: 7.5rem; }
.figures { display: grid; gap: 1.2rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 32rem), 1fr)); }
.figures.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; }
figure img { display: block; width: 100%; max-width: 42rem; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: 6px; }
figcaption { color: var(--soft); font-size: .875rem; padding: .4rem .1rem; }
summary { cursor: pointer; font-weight: 600; padding: .4rem 0; }
"""


@dataclass(frozen=True)
class Strong:
    text: str


@dataclass(frozen=True)
class Code:
    text: str


Inline = str | Strong | Code


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    parts: tuple[Inline, ...]
    note: bool = False  # to be seen before anything else


@dataclass(frozen=True)
class Notes:
    """Paragraphs and lists written in Markdown, with **strong**, *emphasis*, `code` and links."""

    markdown: str


@dataclass(frozen=True)
class Table:
    """The first column heads the rows; columns named in `text` are words, the others numbers."""

    caption: str
    columns: list[str]
    rows: list[list[Inline]]
    text: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Figure:
    name: str  # of the file, without its ending
    png: bytes  # with twice as many pixels as it is to be wide
    alt: str
    caption: str


@dataclass(frozen=True)
class Figures:
    figures: list[Figure]
    small: bool = False


@dataclass(frozen=True)
class Listing:
    text: str


@dataclass(frozen=True)
class Details:
    summary: str
    blocks: list[Block]


Block = Heading | Paragraph | Notes | Table | Figures | Listing | Details


@dataclass
class Page:
    title: str
    blocks: list[Block] = field(default_factory=list)

    def html(self) -> str:
        body = "\n".join(map(_html, self.blocks))
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            f"<main>\n<h1>{escape(self.title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
        )

    def markdown(self) -> str:
        return "\n\n".join([f"# {_quoted(self.title)}", *map(_markdown, self.blocks)]) + "\n"

    def figures(self) -> list[Figure]:
        return _figures(self.blocks)


def _figures(blocks: list[Block]) -> list[Figure]:
    found: list[Figure] = []
    for block in blocks:
        if isinstance(block, Figures):
            found += block.figures
        elif isinstance(block, Details):
            found += _figures(block.blocks)
    return found


def _html(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(parts, note):
            kind = ' class="note"' if note else ""
            return f"<p{kind}>{''.join(map(_inline_html, parts))}</p>"
        case Notes(markdown):
            return "\n".join(map(_paragraph_html, re.split(r"\n\s*\n", markdown.strip())))
        case Table():
            return _table_html(block)
        case Figures(figures, small):
            inner = "\n".join(map(_figure_html, figures))
            kind = "figures small" if small else "figures"
            return f'<div class="{kind}">\n{inner}\n</div>'
        case Listing(text):
            return f'<pre tabindex="0"><code>{escape(text.strip())}</code></pre>'
        case Details(summary, blocks):
            inner = "\n".join(map(_html, blocks))
            return f"<details>\n<summary>{escape(summary)}</summary>\n{inner}\n</details>"


def _table_html(table: Table) -> str:
    words = {table.columns[0], *table.text}
    kinds = [' class="text"' if column in words else "" for column in table.columns]
    head = "".join(
        f'<th scope="col"{kind}>{escape(column)}</th>'
        for kind, column in zip(kinds, table.columns, strict=True)
    )
    rows = []
    for row in table.rows:
        first, *others = map(_inline_html, row)
        cells = "".join(f"<td{k}>{c}</td>" for k, c in zip(kinds[1:], others, strict=True))
        rows.append(f'<tr><th scope="row"{kinds[0]}>{first}</th>{cells}</tr>')
    # A box that scrolls must be reachable by keyboard, and say what it is.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.caption)}">'
        f"<table>\n<caption><span>{escape(table.caption)}</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody>\n</table></div>"
    )


def _figure_html(figure: Figure) -> str:
    width, height = struct.unpack(">II", figure.png[16:24])
    data = base64.b64encode(figure.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" width="{width // 2}" '
        f'height="{height // 2}" alt="{escape(figure.alt)}">'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _inline_html(part: Inline) -> str:
    match part:
        case Strong(text):
            return f"<strong>{escape(text)}</strong>"
        case Code(text):
            return f"<code>{escape(text)}</code>"
    return escape(part)


def _paragraph_html(markdown: str) -> str:
    text = escape(markdown)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text, flags=re.DOTALL)
    text = re.sub(r"\*(.+?)\*", r"<em>\1</em>", text, flags=re.DOTALL)
    text = re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>', text)
    if re.match(r"[-*] ", text):
        items = re.split(r"\n[-*] ", text[2:])
        return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in items) + "\n</ul>"
    return f"<p>{text}</p>"


def _markdown(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_quoted(text)}"
        case Paragraph(parts, note):
            return ("> " if note else "") + "".join(map(_inline_markdown, parts))
        case Notes(markdown):
            return markdown.strip()
        case Table(caption, columns, rows, text):
            marks = ["---" if column in text else "---:" for column in columns]
            marks[0] = "---"
            lines = [list(map(_quoted, columns)), marks]
            lines += [list(map(_inline_markdown, row)) for row in rows]
            return "\n".join([f"{_quoted(caption)}\n", *(f"| {' | '.join(r)} |" for r in lines)])
        case Figures(figures):
            return "\n\n".join(
                f"![{_quoted(f.alt)}]({f.name}.png)\n\n{_quoted(f.caption)}" for f in figures
            )
        case Listing(text):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{fence}\n{text.strip()}\n{fence}"
        case Details(summary, blocks):
            inner = "\n\n".join(map(_markdown, blocks))
            title = f"<summary>{escape(summary)}</summary>"
            return f"<details>\n{title}\n\n{inner}\n\n</details>"


def _inline_markdown(part: Inline) -> str:
    match part:
        case Strong(text):
            return f"**{_quoted(text)}**"
        case Code(text):
            # In a code span nothing can be escaped; HTML's element takes any text.
            return f"<code>{_quoted(text)}</code>"
    return _quoted(part)


def _quoted(text: str) -> str:
    """Text on one line that Markdown takes for nothing else."""
    return re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", re.sub(r"\s+", " ", text))
