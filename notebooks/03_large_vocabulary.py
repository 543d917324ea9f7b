# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Large vocabularies
#
# *The loss of a language model's output head, without the logits.*
#
# An output head maps a hidden state $h$ of $D$ numbers to $V$ logits, $x = hW + b$. For $N$ words the logits are
# $N \times V$ numbers, and the usual way to their cross-entropy holds them, their exponentials and their
# gradient at once. `jaxinfo.linear_softmax_cross_entropy` goes over the classes in blocks and holds none of them.
#
# The text is the State of the Union addresses with their full vocabulary. Claims end in an `assert`.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxinfo
from jaxinfo.cli._bigram import BATCH, FEATURES, entropies, fit_bigram, sotu_pairs

pairs = sotu_pairs()
V = len(pairs.words)
print(f"{len(pairs.after):,} pairs of neighbouring words, {V:,} different words")

# %% [markdown]
# ## The same number
#
# On a few words both ways can be written down: the logits whole, or never.

# %%
key = jax.random.key(0)
hidden = jax.random.normal(key, (64, FEATURES))
kernel = jax.random.normal(jax.random.key(1), (FEATURES, V)) / 4
labels = jnp.asarray(pairs.after[:64])


def whole(hidden, kernel):
    return jnp.mean(jaxinfo.softmax_cross_entropy(hidden @ kernel, labels))


def by_blocks(hidden, kernel):
    return jaxinfo.linear_softmax_cross_entropy(hidden, kernel, labels, reduction="mean")


dense, slopes_dense = jax.jit(jax.value_and_grad(whole, (0, 1)))(hidden, kernel)
fused, slopes_fused = jax.jit(jax.value_and_grad(by_blocks, (0, 1)))(hidden, kernel)
print(f"whole {dense:.6f}, by blocks {fused:.6f}")
eps = float(jnp.finfo(jnp.float32).eps)
assert abs(fused - dense) <= 16 * eps * dense
for ours, theirs in zip(slopes_fused, slopes_dense, strict=True):
    assert jnp.linalg.norm(ours - theirs) <= 32 * eps * jnp.linalg.norm(theirs)

# %% [markdown]
# ## Memory against V
#
# What the compiled program of value and gradients takes beside its arguments and results: of whole logits it
# grows with $N V$, by blocks it does not. Nothing is run here, the compiler says it.

# %%
N = 2048
SIZES = [2**k for k in range(10, 19, 2)]


def temporaries(loss, v):
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((N, FEATURES), (FEATURES, v))]
    classes = jax.ShapeDtypeStruct((N,), jnp.int32)
    program = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*shapes, classes).compile()
    return program.memory_analysis().temp_size_in_bytes / 2**20


def loss_whole(hidden, kernel, labels):
    return jnp.mean(jaxinfo.softmax_cross_entropy(hidden @ kernel, labels))


def loss_by_blocks(hidden, kernel, labels):
    return jnp.mean(jaxinfo.linear_softmax_cross_entropy(hidden, kernel, labels))


mib = {name: [temporaries(f, v) for v in SIZES] for name, f in (("whole", loss_whole), ("by blocks", loss_by_blocks))}
for name, values in mib.items():
    plt.loglog(SIZES, values, "o-", label=name)
plt.xlabel("classes V")
plt.ylabel(f"MiB of temporaries at N = {N:,}")
plt.title("Memory of the loss and its gradients")
plt.legend()
plt.show()
assert mib["by blocks"][-1] < 0.05 * mib["whole"][-1]
assert mib["by blocks"][-1] < 1.5 * mib["by blocks"][1]

# %% [markdown]
# ## A bigram language model
#
# Each word is predicted from the one before it: the first word's embedding of $D$ numbers against one kernel.
# The model starts from the words' own frequencies (its bias) and learns on minibatches. Beside it stand two
# numbers counted from the text: the entropy of its words $H(Y)$, and the entropy of a word given the one before,
# $H(Y \mid X)$, of the text's own frequencies. No model that sees one word back goes below the latter on this text.

# %%
out = fit_bigram(pairs, steps=120)
print(f"entropy of the words            {out.entropy:.4f} nats")
print(f"model of rank {FEATURES}                {out.cross_entropy:.4f} nats")
print(f"empirical conditional entropy   {out.conditional_entropy:.4f} nats")
print(f"gap                             {out.gap:.4f} nats")
assert (out.entropy, out.conditional_entropy) == entropies(pairs)
assert out.conditional_entropy < out.cross_entropy < out.entropy
plt.plot(out.history, lw=0.8, label=f"minibatches of {BATCH:,}")
for level, name in ((out.entropy, "$H(Y)$"), (out.conditional_entropy, "$H(Y|X)$")):
    plt.axhline(level, color="black", ls=":")
    plt.text(0, level + 0.03, name)
plt.axhline(out.cross_entropy, color="C1", label="whole text, at the end")
plt.xlabel("step")
plt.ylabel("nats a word")
plt.legend()
plt.show()

# %% [markdown]
# ## Where the gap comes from
#
# The gap is a KL divergence, $H(P, Q) - H(P) = \mathrm{KL}(P \| Q)$, from the text's conditional frequencies to the
# model's. The text has a row of frequencies of its own for each of its words, most of them seen a few times: a word
# that occurs once is followed by one word with frequency 1, which costs 0 nats. A model of rank $D$ has $D$ numbers
# for each word, so rows of logits lie in a space of $D$ dimensions (and the bias), and cannot be all those points
# at once. Part of the gap would close with more steps; the rest is the price of a rank far below $V$, and also
# what lets the model say anything about pairs that the text does not hold.

# %%
frequency = np.bincount(pairs.before, minlength=V)
once = np.mean(frequency[frequency > 0] == 1)
print(f"{once:.0%} of the words occur once as a first word")
assert once > 0.2
assert out.gap > 0
