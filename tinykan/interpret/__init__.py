"""Reading what a network has learned: importance, pruning, diagrams, formulas."""
