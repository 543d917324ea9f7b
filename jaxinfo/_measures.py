"""Measures of distributions given by logits: entropy, cross-entropy and KL divergence."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks
from jaxinfo._numerics import log_softmax


def entropy(p, *, axis: int = -1, where=None):
    lp = log_softmax(p, axis=axis, where=where)
    return -jnp.sum(jnp.where(lp == -jnp.inf, 0, jnp.exp(lp) * jnp.where(lp == -jnp.inf, 0, lp)), axis)


def cross_entropy(p, q, *, axis: int = -1, where=None):
    lp = log_softmax(p, axis=axis, where=where)
    lq = log_softmax(q, axis=axis, where=where)
    return -jnp.sum(jnp.where(lp == -jnp.inf, 0, jnp.exp(lp) * jnp.where(lp == -jnp.inf, 0, lq)), axis)


def kl_divergence(p, q, *, axis: int = -1, where=None):
    return cross_entropy(p, q, axis=axis, where=where) - entropy(p, axis=axis, where=where)


def to_bits(nats):
    return _checks.as_float_array(nats, "nats") / math.log(2)


def perplexity(cross_entropy):
    return jnp.exp(_checks.as_float_array(cross_entropy, "cross_entropy"))
