"""Solves Burgers's equation, or that of Allen and Cahn, with jaxKAN, on the points and against the
reference that tinykan has:

    PYTHON scripts/jaxkan_equations.py --equation burgers --width 12 --steps 10000

`sh scripts/rivals.sh` makes an environment whose PYTHON has jaxKAN. The network and its training
are those of jaxKAN's tutorial 8 (Chebyshev polynomials of degree 5, two hidden layers, Adam with a
rate that falls by a tenth in 1,000 steps, residual-based attention), and the residual is jaxKAN's.
What the tutorial does beside is left out, since all points are there at every step and the values
on the sides hold by the same ansatz as with `tinykan solve-equation --hard-constraints`: drawing
points anew, causal weights, and weights of several terms.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib.metadata import version

import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")

DECAY, RATE = 0.999, 0.01  # of the attention
EQUATIONS = ("burgers", "allen-cahn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--equation", choices=EQUATIONS, default="burgers")
    parser.add_argument("--width", type=int, default=8, help="of both hidden layers")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    try:
        import jaxkan  # noqa: F401
    except ImportError:
        sys.exit("jaxKAN is not installed; sh scripts/rivals.sh makes an environment that has it")
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx
    from jaxkan.models.KAN import KAN
    from jaxkan.pikan.adaptive import apply_rba_weights, update_rba_weights
    from jaxkan.pikan.pde import get_ac_res, get_burgers_res

    from tinykan.tasks import EquationTask

    task = EquationTask(options.equation, hard_constraints=True)
    points, scored = (
        jnp.asarray(task.problem.to_box(unit)[:, ::-1].astype(np.float32))  # t before x
        for unit in (task.interior, task.points)
    )
    residual = {"burgers": get_burgers_res, "allen-cahn": get_ac_res}[options.equation]()

    class Solution(nnx.Module):
        """The ansatz, which is that of tinykan."""

        def __init__(self):
            self.network = KAN(
                [2, options.width, options.width, 1],
                "chebyshev",
                {
                    "D": 5,
                    "flavor": "exact",
                    "residual": None,
                    "external_weights": False,
                    "init_scheme": {"type": "glorot_fine"},
                    "add_bias": True,
                },
                options.seed,
            )

        def __call__(self, tx):
            t, x = tx[:, :1], tx[:, 1:]
            burgers = options.equation == "burgers"
            start = -jnp.sin(jnp.pi * x) if burgers else x**2 * jnp.cos(jnp.pi * x)
            return start + t * (1 - x**2) * self.network(tx)

    model = Solution()
    rate = optax.exponential_decay(1e-3, transition_steps=1000, decay_rate=0.9)
    optimizer = nnx.Optimizer(model, optax.adam(rate), wrt=nnx.Param)

    def loss(model, weights):
        found = residual(model, points)
        weights = update_rba_weights(jax.lax.stop_gradient(found), weights, DECAY, RATE)
        return (apply_rba_weights(found, weights) ** 2).mean(), weights

    @nnx.jit
    def step(model, optimizer, weights):
        (value, weights), slopes = nnx.value_and_grad(loss, has_aux=True)(model, weights)
        optimizer.update(model, slopes)
        return value, weights

    weights = jnp.ones((len(points), 1))
    start = time.perf_counter()
    value, weights = step(model, optimizer, weights)
    value.block_until_ready()
    compiled = time.perf_counter()
    for number in range(2, options.steps + 1):
        value, weights = step(model, optimizer, weights)
        if number % max(1, options.steps // 10) == 0:
            error = task.scores(np.asarray(model(scored), dtype=float)[:, 0])["relative_l2"]
            seconds = time.perf_counter() - compiled
            print(f"step {number}  relative_l2 {error:.4g}  {seconds:.0f} s", flush=True)
    count = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    scores = "  ".join(
        f"{name} {score:.4g}"
        for name, score in task.scores(np.asarray(model(scored), dtype=float)[:, 0]).items()
    )
    print(
        f"jaxKAN {version('jaxkan')}, jax {version('jax')}  {scores}  parameters {count}  "
        f"steps {options.steps}  compile {compiled - start:.1f} s  "
        f"train {time.perf_counter() - compiled:.1f} s"
    )


if __name__ == "__main__":
    main()
