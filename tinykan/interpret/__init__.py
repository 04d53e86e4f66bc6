"""Interpretation of trained networks: summaries, attribution scores of edges and nodes, pruning,
diagrams, interactions of inputs, symbolic edges, and formulas (KAN paper, arXiv:2404.19756, sec.
2.5; KAN 2.0, arXiv:2408.10205).

Modules that need an extra are imported by name: `tinykan.interpret.diagram` (matplotlib, of the
`demo` extra), and `candidates`, `symbolification`, `formulas`, `formula_networks`, `own_functions`
and `recovery` (SciPy and SymPy, of the `interpret` extra).
"""

from tinykan.interpret.attribution import Attribution, attribution
from tinykan.interpret.curves import edge_curve, input_ranges
from tinykan.interpret.interactions import interaction
from tinykan.interpret.library import LIBRARY, SymbolicFunction
from tinykan.interpret.products import MultiplicationLayer
from tinykan.interpret.pruning import edge_count, prune, remove
from tinykan.interpret.summary import summary
from tinykan.interpret.symbolic import SymbolicLayer

__all__ = [
    "LIBRARY",
    "Attribution",
    "MultiplicationLayer",
    "SymbolicFunction",
    "SymbolicLayer",
    "attribution",
    "edge_count",
    "edge_curve",
    "input_ranges",
    "interaction",
    "prune",
    "remove",
    "summary",
]
