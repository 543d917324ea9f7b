"""jaxinfo: estimation of probability distributions as pure JAX functions."""

from jaxinfo._classification import nll as nll
from jaxinfo._classification import softmax_cross_entropy as softmax_cross_entropy
from jaxinfo._measures import cross_entropy as cross_entropy
from jaxinfo._measures import entropy as entropy
from jaxinfo._measures import kl_divergence as kl_divergence
from jaxinfo._measures import perplexity as perplexity
from jaxinfo._measures import to_bits as to_bits
from jaxinfo._numerics import log_softmax as log_softmax
from jaxinfo._numerics import logits_from_probs as logits_from_probs
from jaxinfo._numerics import logsumexp as logsumexp
from jaxinfo._numerics import softmax as softmax
from jaxinfo._reduce import mean as mean
from jaxinfo._reduce import total as total
from jaxinfo._version import __version__ as __version__
