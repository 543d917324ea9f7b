"""One of two processes with four virtual devices each: `python -m tests.fitting.one_of_two NUMBER PORT`."""

import sys

import jax

if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", num_processes=2, process_id=int(sys.argv[1]))

import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxinfo.fitting import FitResult, fit
from tests.fitting.problems import overlapping, regression

OPTIONS = ({"method": "newton"}, {"batch_size": 24, "max_steps": 12})


def spread(array: np.ndarray) -> jax.Array:
    """Return `array` with its rows over all devices of all processes."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    return jax.make_array_from_callback(array.shape, rows, lambda index: array[index])


def run(options: dict, *, sharded: bool) -> FitResult:
    """Fit the same regression, with its data on one device or on eight."""
    x, y = overlapping(n=64)
    problem = regression(x, y, 0.3)
    place = spread if sharded else np.asarray
    weights = place(np.linspace(0.5, 1.5, 64))
    data = (place(x), place(y.astype(np.int32)))
    return fit(problem.loss, problem.params, data, penalty=problem.penalty, weights=weights, **options)


def figures(result: FitResult) -> np.ndarray:
    """Return the numbers to compare; the intercepts about their mean, whose common shift changes nothing."""
    b = np.asarray(result.params["b"])
    parts = (np.asarray(result.params["w"]).ravel(), b - b.mean(), np.asarray(result.standard_errors["b"]))
    return np.concatenate([[result.objective], *parts])


if __name__ == "__main__":
    for options in OPTIONS:
        result = run(options, sharded=True)
        print("RESULT", result.reason, *map(repr, map(float, figures(result))), flush=True)
