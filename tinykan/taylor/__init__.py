"""Derivatives of networks with respect to their inputs, as fast as values and differentiable with
respect to the parameters: what differential equations are solved with."""

from tinykan.taylor.networks import Derivatives, derivatives

__all__ = ["Derivatives", "derivatives"]
