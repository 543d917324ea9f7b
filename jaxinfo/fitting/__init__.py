"""Maximum likelihood by an optax-driven loop that says why it stopped.

`fit` is the host loop that times, reports, saves and diagnoses; `minimize` is the pure core beneath it, for
jit, vmap and grad; `newton` and `newton_cg` are its own methods, each an
`optax.GradientTransformationExtraArgs`.
"""

from jaxinfo.fitting._checkpoint import Checkpoint as Checkpoint
from jaxinfo.fitting._estimate import FitResult as FitResult
from jaxinfo.fitting._host import fit as fit
from jaxinfo.fitting._minimize import minimize as minimize
from jaxinfo.fitting._newton import newton as newton
from jaxinfo.fitting._newton_cg import newton_cg as newton_cg
from jaxinfo.fitting._problem import Options as Options
from jaxinfo.fitting._result import History as History
from jaxinfo.fitting._result import Progress as Progress
from jaxinfo.fitting._result import Reason as Reason
from jaxinfo.fitting._result import Restart as Restart
from jaxinfo.fitting._state import FitState as FitState
