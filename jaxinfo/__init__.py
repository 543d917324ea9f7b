"""Estimation of probability distributions as pure JAX functions.

Maximum likelihood, minimum cross-entropy and minimum KL divergence are one problem:
KL(P || Q) = H(P, Q) - H(P), and NLL / N = H(P, Q) for the data's own frequencies P. All in nats.

Numerics         logsumexp, log_softmax, softmax, logits_from_probs
Measures         entropy, cross_entropy, kl_divergence, js_divergence, renyi_divergence, f_divergence,
                 kl_estimate; to_bits, perplexity
Losses           softmax_cross_entropy, nll, sigmoid_cross_entropy, gaussian_nll, poisson_nll
Large
vocabularies     linear_softmax_cross_entropy, linear_token_statistics, linear_kl_divergence,
                 linear_js_divergence: from hidden states and an output kernel, without the logits
Reductions       mean, total
Estimation       fit, FitResult
Trust            verify: gradients checked, of any JAX code
Cost             bench: time, memory and error of any JAX code, here or compiled for devices that are not here
Coming from
PyTorch          jaxinfo.compat.torch: torch.nn.functional's signatures

Functions are pure and unreduced, take logits, and are not jitted: the caller jits, vmaps and differentiates.
"""

from jaxinfo import bench as bench
from jaxinfo import verify as verify
from jaxinfo._classification import nll as nll
from jaxinfo._classification import softmax_cross_entropy as softmax_cross_entropy
from jaxinfo._f_divergence import f_divergence as f_divergence
from jaxinfo._f_divergence import kl_estimate as kl_estimate
from jaxinfo._js import js_divergence as js_divergence
from jaxinfo._likelihoods import gaussian_nll as gaussian_nll
from jaxinfo._likelihoods import poisson_nll as poisson_nll
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
from jaxinfo._renyi import renyi_divergence as renyi_divergence
from jaxinfo._sigmoid import sigmoid_cross_entropy as sigmoid_cross_entropy
from jaxinfo._version import __version__ as __version__
from jaxinfo.fitting import FitResult as FitResult
from jaxinfo.fitting import fit as fit
from jaxinfo.linear import linear_js_divergence as linear_js_divergence
from jaxinfo.linear import linear_kl_divergence as linear_kl_divergence
from jaxinfo.linear import linear_softmax_cross_entropy as linear_softmax_cross_entropy
from jaxinfo.linear import linear_token_statistics as linear_token_statistics
