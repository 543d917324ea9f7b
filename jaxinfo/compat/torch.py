"""torch.nn.functional's losses with torch's own signatures, for code that is being ported.

    from jaxinfo.compat import torch as F

| index or probability targets | F.cross_entropy, F.nll_loss, F.kl_div |
| the same, from hidden states | F.linear_cross_entropy |
| binary outcomes | F.binary_cross_entropy, F.binary_cross_entropy_with_logits |
| numbers | F.gaussian_nll_loss, F.poisson_nll_loss |
| distributions | F.softmax, F.log_softmax, F.logsumexp |

Argument order, names, defaults, the class axis (1, or 0 for one example alone), `ignore_index`, `weight`,
every denominator and the dtype of the result are torch's. The mathematics is jaxinfo's: an adapter only
lays out the arguments. So digits that torch loses are kept, and where torch answers nan or inf although
there is a limit, the limit is returned. docs/coming_from_torch.md lists each difference;
tests/compat/test_torch_samples.py compares everything with torch over torch's own samples.
"""

from jaxinfo.compat._torch_binary import binary_cross_entropy as binary_cross_entropy
from jaxinfo.compat._torch_binary import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from jaxinfo.compat._torch_categorical import cross_entropy as cross_entropy
from jaxinfo.compat._torch_categorical import kl_div as kl_div
from jaxinfo.compat._torch_categorical import nll_loss as nll_loss
from jaxinfo.compat._torch_likelihoods import gaussian_nll_loss as gaussian_nll_loss
from jaxinfo.compat._torch_likelihoods import poisson_nll_loss as poisson_nll_loss
from jaxinfo.compat._torch_linear import linear_cross_entropy as linear_cross_entropy
from jaxinfo.compat._torch_softmax import log_softmax as log_softmax
from jaxinfo.compat._torch_softmax import logsumexp as logsumexp
from jaxinfo.compat._torch_softmax import softmax as softmax
