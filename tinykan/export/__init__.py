"""Trained networks outside this library: one form, from which every format is written."""

from tinykan.export.form import Program, evaluate
from tinykan.export.lowering import lowered

__all__ = ["Program", "evaluate", "lowered"]
