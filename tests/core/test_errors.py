"""Errors at trace time: the type, the argument in backticks, what was wanted and what came, in one sentence."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import jaxinfo

X = jnp.zeros((32, 10), jnp.float32)
Y = jnp.zeros(32, jnp.int32)
INTEGERS = jnp.zeros((32, 10), jnp.int32)


@pytest.fixture(autouse=True)
def our_own_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked annotations would speak first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def shape(argument: str, wanted: str, got: str) -> list[str]:
    return [f"`{argument}`", wanted, got]


sce, nll, kl, ce = jaxinfo.softmax_cross_entropy, jaxinfo.nll, jaxinfo.kl_divergence, jaxinfo.cross_entropy
CASES: dict[str, tuple[Callable[[], Any], type[Exception], list[str]]] = {
    "labels (32, 1)": (lambda: sce(X, Y[:, None]), ValueError, shape("targets", "(32,)", "(32, 1)")),
    "labels (1,)": (lambda: sce(X, Y[:1]), ValueError, shape("targets", "(32,)", "(1,)")),
    "labels ()": (lambda: sce(X, jnp.int32(3)), ValueError, shape("targets", "(32,)", "()")),
    "labels (1, 32)": (lambda: sce(X, Y[None]), ValueError, shape("targets", "(32,)", "(1, 32)")),
    "labels of the logits' shape": (lambda: sce(X, INTEGERS), ValueError, shape("targets", "(32,)", "(32, 10)")),
    "labels along axis 0": (lambda: sce(X, Y, axis=0), ValueError, shape("targets", "(10,)", "(32,)")),
    "targets (10,)": (lambda: sce(X, X[0]), ValueError, shape("targets", "(32, 10)", "(10,)")),
    "targets (1, 10)": (lambda: sce(X, X[:1]), ValueError, shape("targets", "(32, 10)", "(1, 10)")),
    "targets bool": (lambda: sce(X, X > 0), TypeError, shape("targets", "integer", "bool")),
    "targets complex": (lambda: sce(X, X.astype(jnp.complex64)), TypeError, shape("targets", "floating", "complex")),
    "targets None": (lambda: sce(X, None), TypeError, shape("targets", "array", "None")),
    "logits int": (lambda: sce(INTEGERS, Y), TypeError, shape("logits", "floating", "int32")),
    "logits bool": (lambda: sce(X > 0, Y), TypeError, shape("logits", "floating", "bool")),
    "logits string": (lambda: sce("logits", Y), TypeError, shape("logits", "array", "str")),
    "logits scalar": (lambda: sce(jnp.float32(0), Y), ValueError, ["`logits`"]),
    "axis 2": (lambda: sce(X, Y, axis=2), ValueError, shape("axis", "2 axes", "got 2")),
    "axis -3": (lambda: jaxinfo.logsumexp(X, axis=-3), ValueError, shape("axis", "2 axes", "got -3")),
    "axis float": (lambda: jaxinfo.log_softmax(X, axis=1.0), TypeError, shape("axis", "int", "1.0")),
    "axis None": (lambda: jaxinfo.softmax(X, axis=None), TypeError, shape("axis", "int", "None")),
    "axis True": (lambda: jaxinfo.entropy(X, axis=True), TypeError, shape("axis", "int", "True")),
    "where float": (lambda: sce(X, Y, where=X), TypeError, shape("where", "bool", "float32")),
    "where int": (lambda: jaxinfo.entropy(X, where=INTEGERS), TypeError, shape("where", "bool", "int32")),
    "where (32,)": (lambda: sce(X, Y, where=Y == 0), ValueError, shape("where", "(32, 10)", "(32,)")),
    "where (5,)": (lambda: jaxinfo.softmax(X, where=jnp.ones(5, bool)), ValueError, shape("where", "(32, 10)", "(5,)")),
    "where too many axes": (
        lambda: kl(X, X, where=jnp.ones((1, 32, 10), bool)), ValueError, shape("where", "(32, 10)", "(1, 32, 10)")),
    "class_weights (9,)": (
        lambda: sce(X, Y, class_weights=X[0, :9]), ValueError, shape("class_weights", "(10,)", "(9,)")),
    "class_weights of each row": (
        lambda: sce(X, Y, class_weights=X), ValueError, shape("class_weights", "(10,)", "(32, 10)")),
    "class_weights int": (
        lambda: sce(X, Y, class_weights=Y[:10]), TypeError, shape("class_weights", "floating", "int32")),
    "label_smoothing 1.5": (
        lambda: sce(X, Y, label_smoothing=1.5), ValueError, shape("label_smoothing", "in [0, 1]", "got 1.5")),
    "label_smoothing -0.1": (
        lambda: sce(X, Y, label_smoothing=-0.1), ValueError, shape("label_smoothing", "in [0, 1]", "got -0.1")),
    "label_smoothing nan": (
        lambda: sce(X, Y, label_smoothing=math.nan), ValueError, shape("label_smoothing", "in [0, 1]", "got nan")),
    "label_smoothing None": (
        lambda: sce(X, Y, label_smoothing=None), TypeError, shape("label_smoothing", "in [0, 1]", "got None")),
    "label_smoothing of each row": (
        lambda: sce(X, Y, label_smoothing=X[:, 0]), ValueError, shape("label_smoothing", "scalar", "(32,)")),
    "z_loss -1": (lambda: sce(X, Y, z_loss=-1.0), ValueError, shape("z_loss", "non-negative", "got -1.0")),
    "z_loss True": (lambda: sce(X, Y, z_loss=True), TypeError, shape("z_loss", "non-negative", "got True")),
    "z_loss int array": (lambda: sce(X, Y, z_loss=Y[0]), TypeError, shape("z_loss", "floating", "int32")),
    "temperature 0": (lambda: sce(X, Y, temperature=0.0), ValueError, shape("temperature", "positive", "got 0.0")),
    "temperature inf": (
        lambda: sce(X, Y, temperature=math.inf), ValueError, shape("temperature", "positive", "got inf")),
    "temperature string": (lambda: sce(X, Y, temperature="2"), TypeError, shape("temperature", "positive", "got '2'")),
    "soft_cap 0": (lambda: sce(X, Y, soft_cap=0), ValueError, shape("soft_cap", "positive", "got 0")),
    "soft_cap -30": (lambda: sce(X, Y, soft_cap=-30.0), ValueError, shape("soft_cap", "positive", "got -30.0")),
    "soft_cap inf": (lambda: sce(X, Y, soft_cap=math.inf), ValueError, shape("soft_cap", "positive", "got inf")),
    "nll log_probs int": (lambda: nll(INTEGERS, Y), TypeError, shape("log_probs", "floating", "int32")),
    "nll labels float": (lambda: nll(X, Y.astype(jnp.float32)), TypeError, shape("labels", "integer", "float32")),
    "nll labels bool": (lambda: nll(X, Y == 0), TypeError, shape("labels", "integer", "bool")),
    "nll labels (32, 1)": (lambda: nll(X, Y[:, None]), ValueError, shape("labels", "(32,)", "(32, 1)")),
    "nll labels (1,)": (lambda: nll(X, Y[:1]), ValueError, shape("labels", "(32,)", "(1,)")),
    "kl shapes": (lambda: kl(X, X[0]), ValueError, shape("q", "(32, 10)", "(10,)")),
    "kl one row": (lambda: kl(X, X[:1]), ValueError, shape("q", "(32, 10)", "(1, 10)")),
    "kl p int": (lambda: kl(INTEGERS, X), TypeError, shape("p", "floating", "int32")),
    "kl q int": (lambda: kl(X, INTEGERS), TypeError, shape("q", "floating", "int32")),
    "cross_entropy shapes": (lambda: ce(X[:1], X), ValueError, shape("q", "(1, 10)", "(32, 10)")),
    "entropy int": (lambda: jaxinfo.entropy(INTEGERS), TypeError, shape("p", "floating", "int32")),
    "probs int": (lambda: jaxinfo.logits_from_probs(INTEGERS), TypeError, shape("probs", "floating", "int32")),
    "nats int": (lambda: jaxinfo.to_bits(Y), TypeError, shape("nats", "floating", "int32")),
    "perplexity int": (lambda: jaxinfo.perplexity(Y), TypeError, shape("cross_entropy", "floating", "int32")),
    "mean int": (lambda: jaxinfo.mean(Y), TypeError, shape("losses", "floating", "int32")),
    "mean weights (32, 1)": (
        lambda: jaxinfo.mean(X[:, 0], weights=X[:, :1]), ValueError, shape("weights", "(32,)", "(32, 1)")),
    "mean weights (1,)": (
        lambda: jaxinfo.mean(X[:, 0], weights=X[0, :1]), ValueError, shape("weights", "(32,)", "(1,)")),
    "mean weights int": (lambda: jaxinfo.mean(X[:, 0], weights=Y), TypeError, shape("weights", "floating", "int32")),
    "mean where float": (lambda: jaxinfo.mean(X, where=X), TypeError, shape("where", "bool", "float32")),
    "total where (5,)": (
        lambda: jaxinfo.total(X, where=jnp.ones(5, bool)), ValueError, shape("where", "(32, 10)", "(5,)")),
    "mean axis 2": (lambda: jaxinfo.mean(X, axis=2), ValueError, shape("axis", "2 axes", "2")),
    "mean axis twice": (lambda: jaxinfo.mean(X, axis=(0, -2)), ValueError, shape("axis", "twice", "(0, -2)")),
    "mean axis float": (lambda: jaxinfo.total(X, axis=0.5), TypeError, shape("axis", "int", "0.5")),
    "mean axis_name": (lambda: jaxinfo.mean(X, axis_name=3), TypeError, shape("axis_name", "str", "got 3")),
    "axis_name list": (lambda: sce(X, Y, axis_name=["v"]), TypeError, shape("axis_name", "a tuple", "got ['v']")),
    "poisson bool": (lambda: jaxinfo.poisson_nll(X > 0, X), TypeError, shape("x", "counts", "bool")),
}  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "parts"), CASES.values(), ids=CASES.keys())
def test_one_sentence_that_names_the_argument(call: Callable[[], Any], kind: type[Exception], parts: list[str]) -> None:
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is kind
    for part in parts:
        assert part in message, f"{part!r} is not in {message!r}"
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message, "one sentence"


def test_the_sentence_of_the_design() -> None:
    with pytest.raises(ValueError, match="targets") as caught:
        jaxinfo.softmax_cross_entropy(X, Y[:, None])
    assert str(caught.value) == "`targets` must have shape (32,), the batch shape of `logits`, got (32, 1)."


def test_errors_come_at_trace_time() -> None:
    with pytest.raises(ValueError, match="`targets`"):
        jax.eval_shape(jaxinfo.softmax_cross_entropy, X, Y[:, None])
    with pytest.raises(TypeError, match="`where`"):
        jax.jit(jaxinfo.entropy)(X, where=X)
    with pytest.raises(ValueError, match="`labels`"):
        jax.vmap(jaxinfo.nll)(X[None], Y[None, :, None])


def test_values_are_never_read() -> None:
    """Bad labels, nan logits and empty masks are values: they give nan or 0, not an error, also as tracers."""
    labels = jnp.full(32, 10_000)
    assert np.isnan(jaxinfo.softmax_cross_entropy(X, labels)).all()
    assert np.isnan(jax.jit(jaxinfo.softmax_cross_entropy)(X, labels)).all()
    assert (jaxinfo.softmax_cross_entropy(X, labels, where=jnp.zeros(10, bool)) == 0).all()
