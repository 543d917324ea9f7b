"""Why a fit stopped, and what it tells on the way."""

import enum
from typing import Any, NamedTuple


class Reason(enum.IntEnum):
    """Why a fit stopped. Only CONVERGED and FLOAT_FLOOR are maxima of the likelihood."""

    RUNNING = 0
    CONVERGED = 1
    FLOAT_FLOOR = 2
    MAX_STEPS = 3
    EARLY_STOPPED = 4
    DIVERGED = 5
    SEPARATED = 6
    DEGENERATE = 7
    NONFINITE = 8

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def found(self) -> bool:
        """Whether the fit came to a maximum, within the tolerance or the rounding of its dtype."""
        return self in (Reason.CONVERGED, Reason.FLOAT_FLOOR)

    @property
    def sentence(self) -> str:
        """What the reason means."""
        return _SENTENCES[self]


_SENTENCES = {
    Reason.RUNNING: "the fit has not stopped yet",
    Reason.CONVERGED: "the Newton decrement, an estimate of what is left to gain, is below the tolerance",
    Reason.FLOAT_FLOOR: "what is left to gain is less than the rounding of the objective in its dtype",
    Reason.MAX_STEPS: "the number of steps allowed ran out before the tolerance was met: no maximum was reached",
    Reason.EARLY_STOPPED: "the validation loss no longer fell; the parameters of its lowest point are returned",
    Reason.DIVERGED: "the objective runs away, or no step along its own gradient lowers it: no maximum was reached",
    Reason.SEPARATED: "the parameters run off to infinity while the likelihood hardly grows: no maximum exists",
    Reason.DEGENERATE: "the likelihood grows without bound as the distribution shrinks onto data points",
    Reason.NONFINITE: "the objective or a derivative is not finite; the best finite parameters are returned",
}


class History(NamedTuple):
    """Arrays with one entry per turn of the loop, the starting point included; a decrement not computed is nan.

    On minibatches objective and gradient norm are estimates from the batch of that turn.
    """

    objective: Any
    gradient_norm: Any
    decrement: Any


class Progress(NamedTuple):
    """What `fit` tells its `progress` callable about each step.

    Attributes:
        step: number of the step, 0 for the starting point.
        objective: the objective there, in nats.
        gradient_norm: Euclidean norm of its gradient.
        decrement: half the squared Newton decrement, nan where it was not computed.
        seconds: time since the loop began.
        seconds_left: estimated time until the fit stops; nan while there is nothing to tell it from.
    """

    step: int
    objective: float
    gradient_norm: float
    decrement: float
    seconds: float
    seconds_left: float = float("nan")


class Restart(NamedTuple):
    """One of several fits from different starting points.

    Attributes:
        number: which start, 0 for the parameters as given.
        objective: the objective where it stopped, in nats.
        reason: why it stopped.
        steps: parameter updates made.
        detail: what was found beside the reason, such as the parameter that degenerates; else empty.
    """

    number: int
    objective: float
    reason: Reason
    steps: int
    detail: str
