"""Summaries of networks: as text and as HTML."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

import tinykan
from tests.interpret.helpers import named_network, points
from tinykan import (
    KAN,
    MLP,
    RBF,
    BSpline,
    EdgeTanh,
    Encoding,
    Gaussian,
    KANLayer,
    Network,
    parameter_count,
    summary,
)
from tinykan.interpret import edge_count, prune
from tinykan.interpret.summary import MAX_LEVELS, MAX_NODES, MAX_ROWS

SVG = "{http://www.w3.org/2000/svg}"


class Cells(HTMLParser):
    """The text of the cells of a page's tables, row by row, and the names of all its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def diagram(model: Network) -> ElementTree.Element:
    html = model._repr_html_()
    return ElementTree.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])


def circles(model: Network) -> int:
    return len(diagram(model).findall(f"{SVG}circle"))


def edges(model: Network) -> int:
    return diagram(model).find(f"{SVG}path").get("d").count("M")


def number(text: str) -> int:
    return int(text.replace(",", ""))


MODELS = {
    "pykan's first": lambda: KAN([2, 5, 1]),
    "MLP": lambda: MLP([3, 200, 1]),
    "encoded": lambda: KAN([128, 4, 2], RBF(4), encoding=Gaussian(features=64), norm="layer"),
    "pruned": lambda: prune(KAN([2, 6, 1]), points(100), edge_threshold=0.2),
    "symbolic": named_network,
    "tanh on edges": lambda: Network([EdgeTanh(2, 3), KANLayer(3, 1)]),
    "deep": lambda: MLP([2] + [3] * 40 + [1]),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def test_the_parameters_of_the_rows_add_up_to_the_total(model):
    _, *rows, total = Cells(model._repr_html_()).rows
    assert sum(number(row[-1]) for row in rows) == number(total[-1]) == parameter_count(model)


def test_text_and_html_have_the_same_cells(model):
    title, _, header, _, *rows, _, total = str(summary(model)).splitlines()
    found = Cells(model._repr_html_())
    assert title in model._repr_html_()
    for line, cells in zip([header, *rows, total], found.rows, strict=True):
        assert line.split() == " ".join(cells).split()
    assert len({len(line) for line in (header, *rows, total)}) == 1


def test_a_table_of_a_kan():
    rows = Cells(KAN([2, 5, 1], BSpline(8, 2), base=None)._repr_html_()).rows
    # For each edge 8 + 2 coefficients and a weight; for each node a bias.
    basis = "BSpline(intervals=8, order=2, domain=(-1.0, 1.0))"
    assert rows[1] == ["KANLayer", basis, "2 → 5", "10", str(10 * 11 + 5)]
    assert rows[2] == ["KANLayer", basis, "5 → 1", "5", str(5 * 11 + 1)]
    assert rows[3] == ["total", "", "", "", "171"]


def test_what_is_between_layers_and_before_them():
    model = MODELS["encoded"]()
    assert str(summary(model)).splitlines()[0] == "KAN, layer norm between layers"
    row = Cells(model._repr_html_()).rows[1]
    assert row == ["encoding", repr(model.encoding), "2 → 128", "", "0"]
    assert str(summary(MLP([1, 1]))).splitlines()[0] == "MLP, tanh between layers"


def test_symbolic_edges_are_named_and_pruned_ones_counted():
    rows = Cells(named_network()._repr_html_()).rows
    assert [row[1] for row in rows[1:3]] == ["x^2 + sin", "exp"]
    model = MODELS["pruned"]()
    layer = model.layers[0]
    live = int((layer.mask.numpy() > 0).sum())
    assert live < layer.in_features * layer.out_features
    assert Cells(model._repr_html_()).rows[1][3] == f"{live} of {2 * layer.out_features}"


def test_the_diagram_has_every_node_and_live_edge_of_a_small_network():
    for name in ("pykan's first", "pruned", "symbolic"):
        model = MODELS[name]()
        assert (circles(model), edges(model)) == (sum(model.widths), edge_count(model))


def test_large_networks_are_abbreviated():
    wide, deep = MODELS["MLP"](), MODELS["deep"]()
    assert circles(wide) == 3 + MAX_NODES + 1
    assert edges(wide) == 3 * MAX_NODES + MAX_NODES
    columns = [text.text for text in diagram(deep).findall(f"{SVG}text")]
    assert len(columns) == MAX_LEVELS + 1 and columns.count("⋯") == 1
    rows = Cells(deep._repr_html_()).rows
    assert len(rows) == 1 + MAX_ROWS + 1 + 1
    # Of 41 layers 21 are left out, each of 3 * 3 weights and 3 biases.
    assert rows[1 + MAX_ROWS // 2] == ["21 more layers", "", "", "", str(21 * 12)]
    assert len(KAN([500, 500, 500])._repr_html_()) < 20_000


def test_everything_is_within_the_diagram(model):
    svg = diagram(model)
    width, height = float(svg.get("width")), float(svg.get("height"))
    for mark in [*svg.findall(f"{SVG}circle"), *svg.findall(f"{SVG}text")]:
        x, y = (float(mark.get(a, mark.get(f"c{a}"))) for a in "xy")
        assert 4 <= x <= width - 4 and 4 <= y <= height - 3
    for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", svg.find(f"{SVG}path").get("d")):
        assert math.isfinite(float(x)) and 0 <= float(x) <= width and 0 <= float(y) <= height


@dataclass(frozen=True, repr=False)
class Hostile(Encoding):
    in_features: int = 1
    out_features: int = 1

    def __repr__(self) -> str:
        return "<script>alert('&')</script>"


def test_html_is_escaped_and_has_no_program():
    found = Cells(KAN([1, 1], encoding=Hostile())._repr_html_())
    assert found.rows[1][1] == "<script>alert('&')</script>"
    table = {"table", "thead", "tbody", "tfoot", "tr", "th", "td"}
    assert found.tags == {"div", "svg", "path", "circle", "text"} | table


def test_a_notebook_shows_every_kind_of_network_and_the_summary_itself():
    model = tinykan.Siren([2, 3, 1])
    assert model._repr_html_() == summary(model)._repr_html_()
    assert "sine30 between layers" in model._repr_html_()
    assert repr(summary(model)) == str(summary(model))
