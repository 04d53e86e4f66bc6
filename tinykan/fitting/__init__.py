"""What refines a trained network: grids, L-BFGS, penalties."""

from tinykan.fitting.grids import grid_mover, own_knots, refine, update_grid

__all__ = ["grid_mover", "own_knots", "refine", "update_grid"]
