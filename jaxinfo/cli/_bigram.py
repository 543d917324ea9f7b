"""`jaxinfo fit sotu --model bigram`: each word from the one before it, over the whole vocabulary.

A word's embedding of size D against one output kernel: logits of rank D for all pairs of words. The loss never
holds them (`jaxinfo.linear_softmax_cross_entropy`).
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxinfo import datasets
from jaxinfo.cli._files import check_writable, write
from jaxinfo.linear import linear_softmax_cross_entropy, linear_token_statistics

Params = dict[str, jax.Array]
FEATURES, BATCH, STEPS, RATE = 32, 1024, 300, 0.02


class Pairs(NamedTuple):
    """The text as pairs of neighbouring words.

    Attributes:
        words: the vocabulary.
        before: [N], the word before.
        after: [N], the word to predict.
    """

    words: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray


class Outcome(NamedTuple):
    """What a fit came to, in nats per word; the cross-entropies are those of the whole text.

    Attributes:
        params: the embedding [V, D], the kernel [D, V] and the bias [V].
        entropy: entropy of the words on their own: where the fit starts, the bias alone.
        conditional_entropy: empirical entropy of a word given the one before, which no model goes below.
        cross_entropy: that of the fitted model.
        history: the loss of each minibatch.
        seconds: what the steps took.
    """

    params: Params
    entropy: float
    conditional_entropy: float
    cross_entropy: float
    history: np.ndarray
    seconds: float

    @property
    def gap(self) -> float:
        """What the model misses of the text's own conditional distribution: a KL divergence, in nats."""
        return self.cross_entropy - self.conditional_entropy


def sotu_pairs() -> Pairs:
    """Return the pairs of neighbouring words within each State of the Union address.

    Raises:
        MissingExtraError: the package sotu is not installed.
    """
    number: dict[str, int] = {}
    speeches = [np.asarray([number.setdefault(w, len(number)) for w in s], np.int32) for s in datasets.sotu_speeches()]
    return pairs_within(speeches, tuple(number))


def pairs_within(texts: Sequence[np.ndarray], words: tuple[str, ...]) -> Pairs:
    """Return the neighbours within each text, given as indices of `words`; none spans two texts."""
    return Pairs(words, np.concatenate([t[:-1] for t in texts]), np.concatenate([t[1:] for t in texts]))


def entropies(pairs: Pairs) -> tuple[float, float]:
    """Return the entropy of the second words, and that given the first, of the text's own frequencies."""
    joint = np.unique(pairs.before.astype(np.int64) * len(pairs.words) + pairs.after, return_counts=True)[1]
    return _entropy(np.bincount(pairs.after)), _entropy(joint) - _entropy(np.bincount(pairs.before))


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def losses(params: Params, before: jax.Array, after: jax.Array, **how: Any) -> jax.Array:
    """Return the loss of each word given the one before, in nats."""
    hidden = params["embedding"][before]
    return linear_softmax_cross_entropy(hidden, params["kernel"], after, bias=params["bias"], **how)


def cross_entropy(params: Params, pairs: Pairs) -> float:
    """Return the cross-entropy of the whole text: every first word is normalised once, then each pair counted."""
    statistics = jax.jit(
        lambda params, words: (
            linear_token_statistics(params["embedding"][words], params["kernel"], words, bias=params["bias"]).logsumexp
        )
    )
    seen = np.arange(len(pairs.words), dtype=np.int32)
    normaliser = np.concatenate(
        [statistics(params, part) for part in np.array_split(seen, math.ceil(len(seen) / 4096))]
    )
    embedding, kernel, bias = (np.asarray(params[k], np.float64) for k in ("embedding", "kernel", "bias"))
    joint, counts = np.unique(pairs.before.astype(np.int64) * len(pairs.words) + pairs.after, return_counts=True)
    before, after = np.divmod(joint, len(pairs.words))
    picked = np.einsum("nd,nd->n", embedding[before], kernel.T[after]) + bias[after]
    return float((counts * (normaliser[before] - picked)).sum() / counts.sum())


def fit_bigram(
    pairs: Pairs,
    *,
    features: int = FEATURES,
    batch: int = BATCH,
    steps: int = STEPS,
    rate: float = RATE,
    seed: int = 0,
    progress: Callable[[int, float], object] = lambda step, loss: None,
) -> Outcome:
    """Fit by Adam on minibatches of pairs, from the words' own frequencies, and measure it on the whole text."""
    v, random = len(pairs.words), np.random.default_rng(seed)
    counts = np.bincount(pairs.after, minlength=v)
    params: Params = {
        "embedding": jnp.asarray(random.standard_normal((v, features)) / math.sqrt(features), jnp.float32),
        "kernel": jnp.zeros((features, v), jnp.float32),
        "bias": jnp.asarray(np.log(np.maximum(counts, 0.5)), jnp.float32),
    }
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    @jax.jit
    def step(params: Params, state: Any, before: jax.Array, after: jax.Array) -> tuple[Params, Any, jax.Array]:
        value, slope = jax.value_and_grad(losses)(params, before, after, reduction="mean")
        updates, state = optimizer.update(slope, state, params)
        return optax.apply_updates(params, updates), state, value  # type: ignore[return-value]

    state, history, start = optimizer.init(params), [], time.perf_counter()
    for number in range(steps):
        chosen = random.integers(0, len(pairs.after), batch)
        params, state, value = step(params, state, pairs.before[chosen], pairs.after[chosen])
        history.append(float(value))
        progress(number + 1, history[-1])
    seconds = time.perf_counter() - start
    entropy, conditional = entropies(pairs)
    return Outcome(params, entropy, conditional, cross_entropy(params, pairs), np.asarray(history), seconds)


def run_bigram(dataset: str, json_file: Path | None) -> None:
    """Fit, report.

    Raises:
        DataError: the data are not a text.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if dataset != "sotu":
        raise datasets.DataError(f"--model bigram is for the words of sotu, got {dataset!r}.")
    check_writable(json_file, "--json")
    pairs = sotu_pairs()
    console.print(f"sotu: {len(pairs.after):,} pairs of words, {len(pairs.words):,} classes, rank {FEATURES}.")

    def line(step: int, loss: float) -> None:
        if step == 1 or step % (STEPS // 6) == 0:
            console.print(f"step {step:4} of {STEPS}   {loss:.4f} nats a word in a minibatch of {BATCH:,}")

    with console.status("compiling and fitting"):
        out = fit_bigram(pairs, progress=line)
    figures = {
        "entropy of the words": out.entropy,
        "cross-entropy of the model": out.cross_entropy,
        "empirical conditional entropy": out.conditional_entropy,
        "gap (KL divergence)": out.gap,
    }
    for name, value in figures.items():
        console.print(f"{name:32}{value:10.6f} nats a word")
    console.print(
        f"No model of rank {FEATURES} closes the gap: it cannot tell all {len(pairs.words):,} first words apart."
    )
    if json_file is not None:
        text = json.dumps({"dataset": dataset, "model": "bigram", "seconds": out.seconds, **figures}, indent=2)
        write(json_file, "--json", lambda file: file.write_text(text + "\n"))
