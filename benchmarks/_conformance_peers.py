"""How each library is asked: one small adapter per function and spelling.

An adapter takes one row. A library with several spellings of a function is judged by the best of them, case by case.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from _conformance_ask import Absent

Spelling = tuple[str, Callable[..., Any]]
Library = dict[str, list[Spelling]]


def libraries() -> dict[str, Library]:
    """Return the adapters of every library that is installed, ours first."""
    makers = {
        "jaxinfo": _jaxinfo,
        "optax": _optax,
        "jax": _jax,
        "distrax": _distrax,
        "torch": _torch,
        "tokamax": _tokamax,
    }
    found = {}
    for name, maker in makers.items():
        try:
            found[name] = maker(importlib.import_module(name))
        except ImportError:
            continue
        # of which the gradient is 1 - V p
        found[name]["log_softmax_sum"] = [(f"{s}, summed", _summed(f)) for s, f in found[name].get("log_softmax", [])]
    return found


def _summed(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: function(x).sum()


def _jaxinfo(info: Any) -> Library:
    return {
        "ce_labels": [("softmax_cross_entropy", lambda x, y, w=None: info.softmax_cross_entropy(x, y, where=w))],
        "ce_soft": [("softmax_cross_entropy", lambda x, t, w=None: info.softmax_cross_entropy(x, t, where=w))],
        "ce_smooth": [("softmax_cross_entropy", lambda x, y: info.softmax_cross_entropy(x, y, label_smoothing=0.1))],
        "cross_entropy": [("cross_entropy", info.cross_entropy)],
        "kl": [("kl_divergence", info.kl_divergence)],
        "entropy": [("entropy", info.entropy)],
        "log_softmax": [("log_softmax", info.log_softmax)],
        "logsumexp": [("logsumexp", info.logsumexp)],
        "sigmoid_ce": [("sigmoid_cross_entropy", info.sigmoid_cross_entropy)],
        "poisson": [("poisson_nll", info.poisson_nll)],
        "gaussian": [("gaussian_nll", info.gaussian_nll)],
    }


def _optax(optax: Any) -> Library:
    loss, nn = optax.losses, jax.nn
    integer, dense = loss.softmax_cross_entropy_with_integer_labels, loss.softmax_cross_entropy

    def smooth(x: Any, y: Any) -> Any:
        return dense(x, optax.smooth_labels(nn.one_hot(y, x.shape[-1], dtype=x.dtype), 0.1))

    return {
        "ce_labels": [("softmax_cross_entropy_with_integer_labels", lambda x, y, w=None: integer(x, y, where=w))],
        "ce_soft": [
            ("softmax_cross_entropy", lambda x, t, w=None: dense(x, t, where=w)),
            ("safe_softmax_cross_entropy", _without_where(loss.safe_softmax_cross_entropy)),
        ],
        "ce_smooth": [("softmax_cross_entropy of smooth_labels", smooth)],
        "cross_entropy": [
            ("softmax_cross_entropy", lambda a, b: dense(b, nn.softmax(a))),
            ("safe_softmax_cross_entropy", lambda a, b: loss.safe_softmax_cross_entropy(b, nn.softmax(a))),
        ],
        "kl": [
            ("kl_divergence", lambda a, b: loss.kl_divergence(nn.log_softmax(b), nn.softmax(a))),
            (
                "kl_divergence_with_log_targets",
                lambda a, b: loss.kl_divergence_with_log_targets(nn.log_softmax(b), nn.log_softmax(a)),
            ),
        ],
        "sigmoid_ce": [("sigmoid_binary_cross_entropy", loss.sigmoid_binary_cross_entropy)],
    }


def _jax(_: Any) -> Library:
    nn, special, stats = jax.nn, jax.scipy.special, importlib.import_module("jax.scipy.stats")

    def of_label(x: Any, y: Any, w: Any = None) -> Any:
        loss = -jnp.take_along_axis(nn.log_softmax(x, where=w), y[..., None], -1)[..., 0]
        return loss if w is None else jnp.where(w.any(-1), loss, 0)

    def of_targets(x: Any, t: Any, w: Any = None) -> Any:
        return -jnp.sum(t * nn.log_softmax(x, where=w), -1, where=w)

    return {
        "ce_labels": [("take_along_axis of nn.log_softmax", of_label)],
        "ce_soft": [("sum of t * nn.log_softmax", of_targets)],
        "cross_entropy": [("sum of nn.softmax * nn.log_softmax", lambda a, b: of_targets(b, nn.softmax(a)))],
        "kl": [
            (
                "scipy.special.rel_entr of nn.softmax",
                lambda a, b: special.rel_entr(nn.softmax(a), nn.softmax(b)).sum(-1),
            )
        ],
        "entropy": [("scipy.special.entr of nn.softmax", lambda x: special.entr(nn.softmax(x)).sum(-1))],
        "log_softmax": [("nn.log_softmax", nn.log_softmax)],
        "logsumexp": [("nn.logsumexp", nn.logsumexp)],
        "poisson": [("scipy.stats.poisson.logpmf", lambda t, r: -stats.poisson.logpmf(t, jnp.exp(r)))],
        "gaussian": [("scipy.stats.norm.logpdf", lambda x, m, v: -stats.norm.logpdf(x, m, jnp.sqrt(v)))],
    }


def _distrax(distrax: Any) -> Library:
    of = distrax.Categorical
    return {
        "ce_labels": [("Categorical.log_prob", _without_where(lambda x, y: -of(logits=x).log_prob(y)))],
        "cross_entropy": [("Categorical.cross_entropy", lambda a, b: of(logits=a).cross_entropy(of(logits=b)))],
        "kl": [("Categorical.kl_divergence", lambda a, b: of(logits=a).kl_divergence(of(logits=b)))],
        "entropy": [("Categorical.entropy", lambda x: of(logits=x).entropy())],
        "log_softmax": [("Categorical.logits", lambda x: of(logits=x).logits)],
        "gaussian": [("Normal.log_prob", lambda x, m, v: -distrax.Normal(m, jnp.sqrt(v)).log_prob(x))],
    }


def _torch(torch: Any) -> Library:
    f = torch.nn.functional

    def masked(x: Any, w: Any) -> Any:
        return x if w is None else x.masked_fill(~w, -torch.inf)

    def of_label(x: Any, y: Any, w: Any = None) -> Any:
        """Leave classes out with masked_fill, a whole row with ignore_index, which is -100."""
        out = w is not None and not bool(w.any())
        x, y = (x, torch.full_like(y, -100)) if out else (masked(x, w), y)
        return f.cross_entropy(x, y, reduction="none")

    def of_targets(x: Any, t: Any, w: Any = None) -> Any:
        if w is not None and not bool(w.any()):
            raise Absent  # ignore_index is for labels only
        return f.cross_entropy(masked(x, w), t, reduction="none")

    def kl(a: Any, b: Any, log_target: bool) -> Any:
        target = a.log_softmax(-1) if log_target else a.softmax(-1)
        return f.kl_div(b.log_softmax(-1), target, reduction="sum", log_target=log_target)

    return {
        "ce_labels": [("cross_entropy", of_label)],
        "ce_soft": [("cross_entropy", of_targets)],
        "ce_smooth": [("cross_entropy", lambda x, y: f.cross_entropy(x, y, reduction="none", label_smoothing=0.1))],
        "cross_entropy": [("cross_entropy", lambda a, b: f.cross_entropy(b, a.softmax(-1), reduction="none"))],
        "kl": [
            ("kl_div", functools.partial(kl, log_target=False)),
            ("kl_div(log_target=True)", functools.partial(kl, log_target=True)),
        ],
        "entropy": [
            ("distributions.Categorical.entropy", lambda x: _categorical(torch, x).entropy()),
            ("special.entr of softmax", lambda x: torch.special.entr(x.softmax(-1)).sum(-1)),
        ],
        "log_softmax": [("log_softmax", lambda x: f.log_softmax(x, -1))],
        "logsumexp": [("logsumexp", lambda x: torch.logsumexp(x, -1))],
        "sigmoid_ce": [
            (
                "binary_cross_entropy_with_logits",
                lambda x, t: f.binary_cross_entropy_with_logits(x, t, reduction="none"),
            )
        ],
        "poisson": [
            ("poisson_nll_loss(full=True)", lambda t, r: f.poisson_nll_loss(r, t, full=True, reduction="none"))
        ],
        "gaussian": [
            ("gaussian_nll_loss(full=True)", lambda x, m, v: f.gaussian_nll_loss(m, x, v, full=True, reduction="none"))
        ],
    }


def _categorical(torch: Any, x: Any) -> Any:
    return torch.distributions.Categorical(logits=x, validate_args=False)


def _tokamax(tokamax: Any) -> Library:
    def of_label(x: Any, y: Any) -> Any:
        """Take the logits as hidden states under an identity kernel."""
        if x.ndim != 1 or x.size > 1024:
            raise Absent  # one row, and no kernel of gigabytes
        kernel = jnp.eye(x.shape[-1], dtype=x.dtype)
        return tokamax.linear_softmax_cross_entropy_loss(x[None], y[None], kernel, reduction="sum")

    # its kernels read command-line flags, which nobody parses in a library
    importlib.import_module("absl.flags").FLAGS.mark_as_parsed()
    return {"ce_labels": [("linear_softmax_cross_entropy_loss", _finite_only(_without_where(of_label)))]}


def _without_where(function: Callable[..., Any]) -> Callable[..., Any]:
    def adapter(x: Any, y: Any, where: Any = None) -> Any:
        if where is not None:
            raise Absent
        return function(x, y)

    return adapter


def _finite_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """An identity kernel passes finite logits of one row on; 0 * inf is nan."""

    def adapter(x: Any, y: Any, where: Any = None) -> Any:
        return function(x, y, where)

    adapter.finite_only = True  # type: ignore[attr-defined]
    return adapter
