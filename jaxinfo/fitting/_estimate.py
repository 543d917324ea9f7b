"""`FitResult`: the estimate, why the fit stopped there, and how sure it is."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxinfo.fitting._result import History, Reason, Restart
from jaxinfo.fitting._summary import as_dictionary, draw_convergence, summary
from jaxinfo.fitting._uncertainty import Likelihood, Uncertainty

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FitResult:
    """A maximum-likelihood, or MAP, estimate.

    What needs the information matrix (standard errors, AIC, condition number) is computed when first asked for.

    Attributes:
        params: the best parameters found, in the structure they were given.
        objective: the summed weighted NLL plus the penalty, in nats.
        log_likelihood: minus the summed weighted NLL, without the penalty, in nats.
        cross_entropy: the NLL per unit of weight, in nats.
        observations: the total weight: the number of examples where they have no weights.
        reason: why the fit stopped.
        detail: what was found beside the reason: the parameter that degenerates, the direction of recession
            in words, the first value that is not finite; else empty.
        direction: where the reason is SEPARATED the direction of recession, of length 1 and in the structure
            of `params`: along it the likelihood grows for ever. None otherwise.
        method: the method that ran.
        steps: parameter updates made.
        evaluations: evaluations of the objective, of its gradient, and Hessian-vector products; an exact Hessian counts
            as one for each parameter.
        gradient_norm: Euclidean norm of the objective's gradient at `params`.
        decrement: half the squared Newton decrement at `params`: the estimated distance of the objective
            from its minimum, in nats; nan where it was not computed.
        validation_loss: the NLL per example of the validation data at `params`, None without any.
        entropy: entropy of the data's own distribution in nats, where `data` is one array of integers: the
            outcomes. None otherwise.
        compile_seconds: time to trace and compile.
        run_seconds: time to run.
        history: objective, gradient norm and decrement at every turn.
        restarts: all fits of several starting points, the best first, degenerate ones last; empty for one.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxinfo.fitting import fit
        >>> heights = jnp.array([1.0, 2.0, 6.0])
        >>> result = fit(lambda centre, x: (x - centre) ** 2 / 2, 0.0, heights)
        >>> print(result.reason, result.params, result.steps, f"{result.standard_errors:.5f}")
        CONVERGED 3.0 1 0.57735
    """

    params: Any
    objective: float
    log_likelihood: float
    cross_entropy: float
    observations: float
    reason: Reason
    detail: str
    direction: Any
    method: str
    steps: int
    evaluations: int
    gradient_norm: float
    decrement: float
    validation_loss: float | None
    entropy: float | None
    compile_seconds: float
    run_seconds: float
    history: History
    restarts: tuple[Restart, ...] = ()
    likelihood: Likelihood = field(repr=False, compare=False, kw_only=True)

    @property
    def bits(self) -> float:
        """Cross-entropy in bits."""
        return self.cross_entropy / math.log(2)

    @property
    def perplexity(self) -> float:
        """The exponential of the cross-entropy."""
        return math.exp(self.cross_entropy) if self.cross_entropy < 700 else math.inf

    @property
    def kl(self) -> float | None:
        """KL divergence from the data's own distribution to the fitted one, in nats; None where it has none."""
        return None if self.entropy is None else max(self.cross_entropy - self.entropy, 0.0)

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """Information, covariances and standard errors at `params`."""
        return Uncertainty(self.likelihood, self.params)

    @property
    def parameters(self) -> int:
        """Number of parameters that the likelihood determines, which is the rank of the information.

        All of them where there are more than 2,000, whose information matrix is not formed.
        """
        return self.uncertainty.rank

    @property
    def singular(self) -> bool:
        """Whether the information is singular, so that covariances are pseudo-inverses."""
        return self.parameters < self.uncertainty.size

    @property
    def condition_number(self) -> float:
        """Condition number of the observed information scaled to a unit diagonal, free directions left out."""
        return self.uncertainty.condition

    @property
    def standard_errors(self) -> Any:
        """Standard errors from the observed information, in the structure of `params`."""
        return self.errors()

    @property
    def aic(self) -> float:
        """Akaike's information criterion, 2 k - 2 log-likelihood, k the free `parameters`."""
        return 2 * self.parameters - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Bayesian information criterion, k log(observations) - 2 log-likelihood."""
        return self.parameters * math.log(max(self.observations, 1)) - 2 * self.log_likelihood

    def covariance(self, kind: str = "observed") -> np.ndarray:
        """Return the covariance [p, p] of the parameters, flattened in the order of `jax.tree.leaves`.

        Args:
            kind: "observed", the inverse Hessian of the objective; "outer", the inverse of the summed outer
                products of the scores (plus the penalty's Hessian); "sandwich", their combination
                H^-1 (sum of score score^T) H^-1, right also where the model is not.

        Returns:
            The covariance; from the Moore-Penrose inverse where the information is singular.

        Raises:
            ValueError: there is no such kind, or more than 2,000 parameters: ask for a `contrast`.
        """
        return self.uncertainty.covariance(kind)

    def errors(self, kind: str = "observed") -> Any:
        """Return standard errors in the structure of `params`; `kind` as for `covariance`.

        Raises:
            ValueError: as `covariance`.
        """
        return self.uncertainty.errors(kind)

    def confidence_intervals(self, level: float = 0.95, kind: str = "observed") -> tuple[Any, Any]:
        """Return the lower and upper ends of normal confidence intervals, in the structure of `params`.

        Raises:
            ValueError: `level` is not between 0 and 1, or as `covariance`.
        """
        return self.uncertainty.intervals(level, kind)

    def contrast(self, of: Callable[[Any], jax.Array] | Any, kind: str = "observed") -> tuple[float, float]:
        """Return the estimate and the standard error of a quantity, without forming a matrix.

        One system is solved by conjugate gradients on Hessian-vector products, so it serves any number of
        parameters; a function of the parameters is linearised (the delta method).

        Args:
            of: coefficients in the structure of `params`, or a function params -> scalar.
            kind: as for `covariance`.

        Returns:
            Both numbers; the error is nan where the likelihood does not determine the quantity.

        Raises:
            ValueError: there is no such kind.
        """
        return self.uncertainty.contrast(of, kind)

    def summary(self, kind: str = "observed", level: float = 0.95) -> str:
        """Return a table in statsmodels' layout: the fit above, a line for each parameter below."""
        return summary(self, kind, level)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain Python values that JSON takes; what is not finite becomes None."""
        return as_dictionary(self)

    def plot(self) -> "Figure":
        """Return a matplotlib figure of the objective, the gradient norm and the decrement over the steps."""
        from matplotlib.figure import Figure  # not pyplot: no window system is asked for

        figure = Figure(figsize=(7, 4.5), layout="constrained")
        draw_convergence(figure.subplots(), self.history)
        figure.suptitle(f"{self.reason} after {self.steps} steps of {self.method}")
        return figure
