"""The curves of edges and the ranges of their inputs, against the functions that they are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.interpret.helpers import named_network, points
from tinykan import UserError
from tinykan.interpret import edge_curve, input_ranges


def test_a_curve_is_the_edges_function_over_its_inputs():
    x = points(300)
    inputs, values = edge_curve(named_network(), x, 0, 0, 0)
    np.testing.assert_allclose(inputs, np.sort(x[:, 0]), atol=1e-7)
    np.testing.assert_allclose(values, np.sin(np.pi * inputs), atol=1e-5)  # float32, at up to pi
    inputs, values = edge_curve(named_network(), x, 1, 0, 0)
    np.testing.assert_allclose(values, np.exp(inputs), rtol=1e-5)


def test_ranges_are_those_of_the_samples():
    x = points(300)
    first, second = input_ranges(named_network(), x)
    np.testing.assert_allclose(first, np.c_[x.min(0), x.max(0)], atol=1e-7)
    nodes = np.sin(np.pi * x[:, 0]) + x[:, 1] ** 2
    np.testing.assert_allclose(second, [[nodes.min(), nodes.max()]], atol=1e-5)


def test_an_edge_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match="output 1 must be a whole number from 0 to 0"):
        edge_curve(named_network(), points(20), 0, 0, 1)
