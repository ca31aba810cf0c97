"""A step of SnAp-2 in braintrace (JAX), with its sparse path; prints the milliseconds. Run by `rnn_snap.py`.

A vanilla network of 128 units with 93.75 % of the recurrent weights missing, 32 inputs, batch 16, compiled,
one thread: braintrace finds the precise pattern of a CSR matrix; gated cells it takes for fully connected.
"""

import json
import os
import time

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import brainevent
import brainstate
import braintrace
import jax
import jax.numpy as jnp
import numpy as np

UNITS, INPUTS, BATCH, STEPS, FAN_IN = 128, 32, 16, 20, 8


class Vanilla(brainstate.nn.Module):
    """h' = tanh(W x + U h) with a sparse U."""

    def __init__(self) -> None:
        super().__init__()
        draw = np.random.default_rng(0)
        columns = np.stack([draw.choice(UNITS, FAN_IN, replace=False) for _ in range(UNITS)])
        starts = np.arange(0, UNITS * FAN_IN + 1, FAN_IN)
        values = draw.uniform(-0.3, 0.3, UNITS * FAN_IN).astype(np.float32)
        matrix = brainevent.CSR(
            (jnp.asarray(values), jnp.asarray(columns.ravel()), jnp.asarray(starts)), shape=(UNITS, UNITS)
        )
        self.given = braintrace.nn.Linear(INPUTS, UNITS)
        self.kept = braintrace.nn.SparseLinear(matrix)

    def init_state(self, batch_size: int | None = None, **_: object) -> None:
        shape = (UNITS,) if batch_size is None else (batch_size, UNITS)
        self.h = brainstate.HiddenState(jnp.zeros(shape))

    def update(self, x: jax.Array) -> jax.Array:
        self.h.value = jnp.tanh(self.given(x) + self.kept(self.h.value))
        return self.h.value


def main() -> None:
    model = Vanilla()
    xs = jax.random.normal(jax.random.PRNGKey(0), (STEPS, BATCH, INPUTS))
    learner = braintrace.compile(
        model, braintrace.SnAp, xs[0], n=2, vmap=True, batch_size=BATCH, snap_max_jacobian_elements=10**10
    )
    loss = lambda x: jnp.mean(learner(x) ** 2)
    run = brainstate.transform.jit(lambda given: learner.etrace_grad(given, step_fn=loss))
    jax.block_until_ready(run(xs))
    taken = []
    for _ in range(3):
        start = time.process_time()
        jax.block_until_ready(run(xs))
        taken.append((time.process_time() - start) / STEPS * 1e3)
    print(json.dumps({"milliseconds": sorted(taken)[1]}))


if __name__ == "__main__":
    main()
