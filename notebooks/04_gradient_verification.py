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
# # Gradient verification
#
# *How a gradient can be wrong and still train, why the usual check does not see it, and what a check must do.*
#
# Whoever writes a `custom_vjp` writes the same quantity twice: the value, and a formula that claims to be its
# derivative. Nothing in JAX compares the two. This notebook trains a model on a wrong gradient until it looks fine,
# lets the known checkers pass it, and then builds up what `jaxinfo.verify.check_gradients` does, step by step.
# Every claim ends in an `assert`.

# %%
import chex
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.test_util import check_grads
from sklearn.datasets import load_digits

from jaxinfo import verify

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
plt.rcParams.update({"figure.dpi": 110, "figure.constrained_layout.use": True, "font.size": 10})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"})

# %% [markdown]
# ## A gradient that is wrong, and trains
#
# Softmax regression on scikit-learn's handwritten digits, with a soft cap on the logits, as several language models
# have one: `cap * tanh(logits / cap)`. The fused loss is written by hand, and its backward pass forgets the factor
# `1 - tanh**2` that the cap brings. (This very slip was found in a released library.)

# %%
digits = load_digits()
images = jnp.asarray(digits.data / 16.0, jnp.float32)
labels = jnp.asarray(digits.target, jnp.int32)
CAP = 6.0


def capped_loss(weights: jax.Array) -> jax.Array:
    """Return the mean cross-entropy of capped logits."""
    logits = CAP * jnp.tanh(images @ weights / CAP)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0])


def forgotten(weights: jax.Array, cotangent: jax.Array) -> jax.Array:
    """Return the gradient without the slope of tanh."""
    logits = CAP * jnp.tanh(images @ weights / CAP)
    return cotangent * images.T @ (jax.nn.softmax(logits) - jax.nn.one_hot(labels, 10)) / len(images)


wrong_loss = jax.custom_vjp(capped_loss)
wrong_loss.defvjp(lambda w: (capped_loss(w), w), lambda w, c: (forgotten(w, c),))


# %%
def train(loss, steps=300, rate=0.5):
    """Return the loss at every step of gradient descent, and the last weights."""

    def step(w, _):
        value, g = jax.value_and_grad(loss)(w)
        return w - rate * g, value

    w, history = jax.lax.scan(step, jnp.zeros((64, 10), jnp.float32), length=steps)
    return np.asarray(history), w


right, w_right = train(capped_loss)
wrong, w_wrong = train(wrong_loss)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
axes[0].plot(right, color=BLUE, label="right gradient")
axes[0].plot(wrong, color=ORANGE, label="tanh' forgotten")
axes[0].set(title="Both go down", xlabel="step", ylabel="loss in nats")
axes[0].legend(frameon=False)
true = np.asarray(jax.grad(capped_loss)(w_wrong)).ravel()
claimed = np.asarray(jax.grad(wrong_loss)(w_wrong)).ravel()
axes[1].scatter(true, claimed, s=6, color=ORANGE)
axes[1].plot([true.min(), true.max()], [true.min(), true.max()], color=GREY, lw=1)
axes[1].set(title="but not along the gradient", xlabel="true", ylabel="claimed")
plt.show()

accuracy = float(jnp.mean(jnp.argmax(images @ w_wrong, axis=-1) == labels))
assert wrong[-1] < 0.5 * wrong[0]  # it trains
assert accuracy > 0.9  # and the model is good
assert right[-1] < wrong[-1]  # only not as good as it could be, which nobody would know

# %% [markdown]
# Nothing in the curve betrays it. A wrong gradient that keeps a positive inner product with the right one is a descent
# direction, and stochastic gradient descent forgives much. What is lost is the last part of the way, and every
# statement that needs a stationary point: here the true gradient at the end of the training is far from zero.
#
# ## What the known checkers say
#
# `jax.test_util.check_grads` and `chex.assert_numerical_grads` compare one random projection with a central difference
# of fixed step, in the dtype of the arguments, and multiply their tolerance by the **size of the array**.


# %%
def passes(check) -> bool:
    """Return whether an assertion holds."""
    try:
        check()
    except AssertionError:
        return False
    return True


def mutant(factor: float):
    """Return the mean of sines over a matrix whose gradient is `factor` times the right one."""
    f = jax.custom_vjp(lambda x: jnp.mean(jnp.sin(x)))
    f.defvjp(lambda x: (jnp.mean(jnp.sin(x)), x), lambda x, c: (factor * c * jnp.cos(x) / x.size,))
    return f


x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 1000)), jnp.float32)
rows = []
for factor in (0.0, -1.0, 1.1, 1.001):
    f = mutant(factor)
    theirs = passes(lambda f=f: check_grads(f, (x,), order=1, modes=("rev",)))
    chexs = passes(lambda f=f: chex.assert_numerical_grads(f, (x,), order=1, modes=("rev",)))
    ours = bool(verify.check_gradients(f, x, order=1))
    rows.append((factor, theirs, chexs, ours))
    print(f"gradient times {factor:6}: check_grads {theirs!s:5}  chex {chexs!s:5}  jaxinfo {ours}")

assert rows[0][2]  # chex accepts a gradient of zero
assert rows[1][2]  # and one of the wrong sign
assert not any(row[3] for row in rows)
assert verify.check_gradients(mutant(1.0), x, order=1)

# %% [markdown]
# ## Which step?
#
# A central difference has two errors. Too long a step and curvature enters, as $h^2$; too short, and the rounding of
# the two values, about `eps`, is divided by $h$. In float32 no step is good: the best one leaves four digits. In
# float64, and with Richardson's extrapolation of a ladder of steps, the $h^2$, $h^4$, $h^6$ terms cancel and twelve
# digits are left.


# %%
def g(t):
    """Return a smooth function whose derivative is known."""
    return np.exp(np.sin(t))


at, slope = 0.7, float(np.exp(np.sin(0.7)) * np.cos(0.7))
steps = 2.0 ** -np.arange(0, 40)
errors = {}
for name, kind in (("float32", np.float32), ("float64", np.float64)):
    up, down = (g(np.asarray(at + s * steps, kind)).astype(np.float64) for s in (1, -1))
    width = np.asarray(at + steps, kind).astype(np.float64) - np.asarray(at - steps, kind).astype(np.float64)
    with np.errstate(all="ignore"):
        errors[name] = np.abs((up - down) / width / slope - 1)
d = (g(at + steps) - g(at - steps)) / (2 * steps)
d1 = (4 * d[1:] - d[:-1]) / 3
d2 = (16 * d1[1:] - d1[:-1]) / 15
errors["float64, extrapolated twice"] = np.abs(d2 / slope - 1)

figure, axis = plt.subplots(figsize=(6, 3.4))
for (name, error), color in zip(errors.items(), (ORANGE, GREY, BLUE), strict=True):
    axis.loglog(steps[-len(error) :], np.maximum(error, 1e-17), ".-", color=color, label=name, ms=4, lw=0.8)
axis.set(xlabel="step h", ylabel="relative error", title="Truncation on the right, rounding on the left")
axis.legend(frameon=False)
plt.show()

assert np.nanmin(errors["float32"]) > 1e-7
third = {name: float(np.sort(error)[2]) for name, error in errors.items()}  # the best may be best by luck
assert third["float64, extrapolated twice"] < 0.1 * third["float64"] < 1e-4 * third["float32"]

# %% [markdown]
# The table that the extrapolation leaves says also how far it can be trusted: neighbouring entries that agree bound
# the truncation, the scatter at the smallest steps bounds the rounding. So the tolerance is *measured*, function by
# function, and nobody has to choose `atol`. `smallest_detectable` is the consequence: the error in one element of the
# gradient that would just have been seen.

# %%
report = verify.check_gradients(capped_loss, w_wrong)
print(report)
assert report.verdict is verify.Verdict.CORRECT
assert report.smallest_detectable < 1e-6

# %%
report = verify.check_gradients(wrong_loss, w_wrong)
print(report)
assert report.verdict is verify.Verdict.WRONG

# %% [markdown]
# ## One element in a million
#
# A random direction sees any wrong element, hidden in a sum. Which one it is follows by halving the direction: of two
# halves one holds the fault. Twenty halvings find one of a million.


# %%
def tampered(shape, place, factor):
    """Return a mean cross-entropy of which one element of the gradient is changed."""
    ys = jnp.zeros(shape[0], jnp.int32)

    def value(x):
        return jnp.mean(jax.nn.logsumexp(x, axis=-1) - x[:, 0])

    def rule(x, c):
        p = (jax.nn.softmax(x) - jax.nn.one_hot(ys, shape[1], dtype=x.dtype)) / shape[0]
        return (c * p.at[place].multiply(factor),)

    f = jax.custom_vjp(value)
    f.defvjp(lambda x: (value(x), x), rule)
    return f


big = jnp.asarray(np.random.default_rng(1).normal(size=(8, 32768)), jnp.float32)
report = verify.check_gradients(tampered(big.shape, (5, 20_000), 1.01), big, order=1)
print(f"of {big.size:,} elements: {report.worst.path}{report.worst.index}, in {report.seconds:.1f} s")
assert report.worst.index == (5, 20_000)

# %% [markdown]
# ## Kinks
#
# At a kink there is no derivative, and a checker that says "wrong" there is no help. Beside a kink there is one, however
# near: the steps shrink until both sides agree.

# %%
points = {"at the kink": 0.0, "a millionth beside it": 1e-6, "away from it": 0.5}
verdicts = {name: verify.check_gradients(jax.nn.relu, jnp.array([t, 1.0])).verdict for name, t in points.items()}
print(verdicts)
assert verdicts["at the kink"] is verify.Verdict.NOT_DIFFERENTIABLE
assert verdicts["a millionth beside it"] is verify.Verdict.CORRECT

# %% [markdown]
# ## Edges
#
# Some gradients are right at every ordinary point and nan at a few that training reaches: a confident prediction, a
# masked class. `hunt` tries a bank of such inputs and names the operation.

# %%
report = verify.hunt(lambda x: jnp.sum(jax.scipy.special.entr(jax.nn.softmax(x))), jnp.array([0.5, -1.0]), examples=0)
print(*(f"{finding.kind} at {finding.input}, from {finding.primitive}" for finding in report.findings), sep="\n")
assert any("nan" in finding.kind for finding in report.findings)
