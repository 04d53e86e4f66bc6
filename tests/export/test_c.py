"""C files compile without a warning and compute what the network does."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from tests.export.networks import EVERY_NETWORK, NETWORKS, settled, trained
from tinykan.export import lowered
from tinykan.export.c import c_source

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Werror"]
# Reads points and writes outputs, as bytes of floats.
READER = """
#include <stdio.h>
void network(const float *in, float *out);
int main(void) {{
    float in[{0}], out[{1}];
    while (fread(in, sizeof in, 1, stdin) == 1) {{
        network(in, out);
        fwrite(out, sizeof out, 1, stdout);
    }}
    return 0;
}}
"""


def compiled(folder, source: str, *options: str, compiler: str = "gcc"):
    (folder / "network.c").write_text(source)
    command = [compiler, *STRICT, *options, "-O1", "-o", "network", "network.c", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "network"


def computed_in_c(folder, model, x, *options, compiler: str = "gcc"):
    source = c_source(lowered(model)) + READER.format(model.in_features, model.out_features)
    program = compiled(folder, source, *options, compiler=compiler)
    done = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(len(x), -1)


@needs_gcc
@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_c_computes_what_the_network_does(tmp_path, name):
    model = trained(NETWORKS[name]())
    x, expected = settled(model)
    np.testing.assert_allclose(computed_in_c(tmp_path, model, x), expected, rtol=1e-5, atol=1e-5)
