"""What a fit returns: the estimate, why the loop stopped there, and how it came there."""

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple


class Reason(enum.IntEnum):
    """Why a fit stopped. Only CONVERGED and FLOAT_FLOOR are estimates."""

    RUNNING = 0
    CONVERGED = 1
    FLOAT_FLOOR = 2
    MAX_STEPS = 3
    DIVERGED = 4
    SEPARATED = 5
    NONFINITE = 6

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def sentence(self) -> str:
        """What the reason means."""
        return _SENTENCES[self]


_SENTENCES = {
    Reason.RUNNING: "the fit has not stopped yet",
    Reason.CONVERGED: "the Newton decrement, an estimate of what is left to gain, is below the tolerance",
    Reason.FLOAT_FLOOR: "what is left to gain is less than the rounding of the objective in its dtype",
    Reason.MAX_STEPS: "the number of steps allowed ran out before the tolerance was met: no maximum was reached",
    Reason.DIVERGED: "the objective runs away, or no step along its own gradient lowers it: no maximum was reached",
    Reason.SEPARATED: "the parameters run off to infinity while the likelihood hardly grows: no maximum exists",
    Reason.NONFINITE: "the objective or a derivative is not finite; the best finite parameters are returned",
}


class History(NamedTuple):
    """Arrays with one entry per turn of the loop, the starting point included; a decrement not computed is nan."""

    objective: Any
    gradient_norm: Any
    decrement: Any


class Progress(NamedTuple):
    """What `fit` tells its `progress` callable about each step."""

    step: int
    objective: float
    gradient_norm: float
    decrement: float
    seconds: float


@dataclass(frozen=True)
class FitResult:
    """A maximum-likelihood, or MAP, estimate.

    Attributes:
        params: the best parameters found, in the structure they were given.
        objective: the summed weighted NLL plus the penalty, in nats.
        log_likelihood: minus the summed weighted NLL, without the penalty, in nats.
        cross_entropy: the NLL per unit of weight, in nats.
        reason: why the fit stopped.
        method: the method that ran.
        steps: parameter updates made.
        evaluations: evaluations of the objective, of its gradient, and Hessian-vector products.
        gradient_norm: Euclidean norm of the objective's gradient at `params`.
        decrement: half the squared Newton decrement at `params`: the estimated distance of the objective
            from its minimum, in nats; nan where it was not computed.
        compile_seconds: time to trace and compile.
        run_seconds: time to run.
        history: objective, gradient norm and decrement at every turn.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxinfo.fitting import fit
        >>> heights = jnp.array([1.0, 2.0, 6.0])
        >>> result = fit(lambda centre, x: (x - centre) ** 2 / 2, 0.0, heights)
        >>> print(result.reason, result.params, result.steps)
        CONVERGED 3.0 1
    """

    params: Any
    objective: float
    log_likelihood: float
    cross_entropy: float
    reason: Reason
    method: str
    steps: int
    evaluations: int
    gradient_norm: float
    decrement: float
    compile_seconds: float
    run_seconds: float
    history: History
