"""ONNX models compute, in onnxruntime, what the networks do."""

from __future__ import annotations

import numpy as np
import pytest

from tests.export.networks import EVERY_NETWORK, NETWORKS, settled, trained
from tinykan.export import lowered
from tinykan.export.onnx_graph import onnx_bytes

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def computed_by_onnxruntime(model, x):
    session = onnxruntime.InferenceSession(
        onnx_bytes(lowered(model)), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_onnx_computes_what_the_network_does(name):
    model = trained(NETWORKS[name]())
    x, expected = settled(model)
    np.testing.assert_allclose(computed_by_onnxruntime(model, x), expected, rtol=1e-5, atol=1e-5)
