"""Refinement of trained networks: grid updates and grid extension by least squares, full-batch
L-BFGS with a Gauss-Newton preconditioner, and sparsity penalties; Muon, tinygrad's optimizers.

Moving and refining grids calls SciPy, of the `lbfgs` extra, when it refits splines.
`tinykan.fitting.lbfgs` needs it when it is imported, and is not imported here.
"""

from tinykan.fitting.grids import refine, update_grid
from tinykan.fitting.moving_grids import GridMover, grid_moves, own_knots
from tinykan.fitting.muon import Muon
from tinykan.fitting.optimizers import adapted
from tinykan.fitting.penalties import Regularization

# fmt: off
__all__ = [
    "GridMover", "Muon", "Regularization", "adapted", "grid_moves", "own_knots", "refine",
    "update_grid",
]
# fmt: on
