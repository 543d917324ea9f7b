"""What rounding does, measured: samples of a program's results with errors of a known size put into every operation."""

import numpy as np

from jaxinfo.verify._vectors import Vector

NOISE = 2.0**-24  # small enough for its effect to be linear, so that one run serves every precision
FINE = 2.0**-44  # for programs that amplify errors so much that the effect of NOISE is no longer linear


def spread(samples: np.ndarray) -> Vector:
    """Return the root mean square over the samples, those that are not finite left out."""
    with np.errstate(all="ignore"):
        good = np.isfinite(samples)
        total = np.where(good, samples, 0) ** 2
        return np.sqrt(total.sum(axis=0) / np.maximum(good.sum(axis=0), 1))


def saturated(samples: np.ndarray, exact: Vector) -> bool:
    """Whether errors have changed a result so much that smaller ones need not change it less in proportion."""
    good = np.isfinite(exact) & np.isfinite(samples).all(axis=0)
    return bool(good.any() and np.abs(samples[:, good]).max() > np.abs(exact[good]).max() / 4)


def rms(values: list[float]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return, of two arrays of samples, the one of greater size, element by element."""
    return np.where(np.abs(b) > np.abs(a), b, a)
