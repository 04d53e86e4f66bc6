"""The form of a network means what the network computes."""

import numpy as np
import pytest

from tests.export.networks import EVERY_NETWORK, NETWORKS, outputs, points, trained
from tests.helpers import float64, needs_float64
from tinykan.export import evaluate, lowered


@needs_float64
@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_every_network_is_its_program(name):
    with float64():
        model = trained(NETWORKS[name]())
        x = points(model).astype(np.float64)
        expected = outputs(model, x)
    assert np.abs(expected).max() > 0.01
    # Both are in float64; sines are of a series of 11 terms there, and Gaussians end at 2^-64.
    np.testing.assert_allclose(evaluate(lowered(model), x), expected, rtol=1e-9, atol=1e-9)
