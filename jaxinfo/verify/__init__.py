"""Gradients verified, of anybody's JAX code: right, wrong and where, or why that cannot be said.

    >>> import jax, jax.numpy as jnp
    >>> from jaxinfo import verify
    >>> verify.check_gradients(jax.nn.softmax, jnp.array([1.0, 2.0, -3.0])).verdict
    <Verdict.CORRECT: 'CORRECT'>

check_gradients     a GradientReport: verdict, worst element, table, smallest error that would have been seen
assert_gradients    the same as an assertion; as a pytest fixture of that name, and as `jaxinfo verify` in a terminal
assert_loss         shape, dtype, finiteness and gradients of a loss
check_grads         a drop-in for jax.test_util.check_grads
hunt                a HuntReport: edge inputs at which value and derivatives part, with the line of code to blame
checked             conditions on values (labels in range, finite logits) as errors, under jit

Nothing here knows a loss of jaxinfo.
"""

from jaxinfo.verify._asserts import assert_gradients as assert_gradients
from jaxinfo.verify._asserts import assert_loss as assert_loss
from jaxinfo.verify._asserts import check_grads as check_grads
from jaxinfo.verify._check import check_gradients as check_gradients
from jaxinfo.verify._checked import checked as checked
from jaxinfo.verify._findings import Finding as Finding
from jaxinfo.verify._findings import HuntReport as HuntReport
from jaxinfo.verify._hunt import hunt as hunt
from jaxinfo.verify._report import GradientReport as GradientReport
from jaxinfo.verify._report import Row as Row
from jaxinfo.verify._report import Verdict as Verdict
from jaxinfo.verify._report import Worst as Worst
