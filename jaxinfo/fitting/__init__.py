"""Maximum likelihood by an optax-driven loop that says why it stopped.

`fit` is the host loop that times and reports; `minimize` is the pure core beneath it; `newton` and
`newton_cg` are its own methods, each an `optax.GradientTransformationExtraArgs`.
"""

from jaxinfo.fitting._host import fit as fit
from jaxinfo.fitting._loop import FitState as FitState
from jaxinfo.fitting._loop import minimize as minimize
from jaxinfo.fitting._newton import newton as newton
from jaxinfo.fitting._newton_cg import newton_cg as newton_cg
from jaxinfo.fitting._result import FitResult as FitResult
from jaxinfo.fitting._result import History as History
from jaxinfo.fitting._result import Progress as Progress
from jaxinfo.fitting._result import Reason as Reason
