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
# # Maximum likelihood: the estimate, how sure it is, and when there is none
#
# Data are drawn from a distribution that we do not know, and we have a family of distributions, one for each value of
# a parameter. The *likelihood* of a parameter is the probability it gives to the data; the estimate is the parameter
# that makes it largest. This notebook goes from there to the standard error of an estimate, and to data for which the
# likelihood has no maximum. Every claim is an `assert`.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxinfo
from jaxinfo import datasets
from jaxinfo.fitting import Reason, fit

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Likelihood and NLL
#
# A coin with probability $\pi$ of heads shows 7 heads in 10 throws. As a product of ten probabilities the likelihood
# is small; of ten thousand it is 0 in any floating-point format. Its negative logarithm, the NLL, is a sum, and the
# same $\pi$ minimises it. Divided by the number of throws it is the cross-entropy from the observed frequencies.

# %%
throws = jnp.array([1, 1, 0, 1, 1, 0, 1, 1, 0, 1])
logits = jnp.linspace(-2, 4, 301)
nll = jax.vmap(lambda z: jnp.sum(jaxinfo.sigmoid_cross_entropy(jnp.full(10, z), throws.astype(float))))(logits)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.plot(jax.nn.sigmoid(logits), jnp.exp(-nll))
left.set(xlabel="probability of heads", ylabel="likelihood")
right.plot(jax.nn.sigmoid(logits), nll)
right.set(xlabel="probability of heads", ylabel="NLL [nats]")
for axes in (left, right):
    axes.axvline(0.7, color="k", lw=0.8, ls=":")
plt.show()


# %%
def coin(logit, throws):
    return jaxinfo.sigmoid_cross_entropy(jnp.broadcast_to(logit, throws.shape), throws.astype(float))


result = fit(coin, 0.0, throws)
assert result.reason == Reason.CONVERGED
assert abs(jax.nn.sigmoid(result.params) - 0.7) < 1e-6
assert abs(result.cross_entropy - result.entropy) < 1e-12  # seven in ten is described exactly
print(f"{result.reason} after {result.steps} Newton steps; KL from the data {result.kl:.1e} nats")

# %% [markdown]
# ## Fisher information and standard errors
#
# Near its minimum the NLL is a parabola. How sharply it is curved says how much the data object to another parameter:
# the second derivative is the *observed information* $I$, and $1/\sqrt{I}$ the standard error. For the coin
# $I = n\,\pi(1-\pi)$ in the logit. The same draws repeated with new data scatter by that much:

# %%
n, true_logit = 400, 0.8
draws = rng.uniform(size=(2000, n)) < 1 / (1 + np.exp(-true_logit))
share = draws.mean(axis=1)
estimates = np.log(share / (1 - share))
one = fit(coin, 0.0, jnp.asarray(draws[0].astype(int)))
information = n * share[0] * (1 - share[0])
assert abs(one.standard_errors - information**-0.5) < 1e-6
assert abs(estimates.std() / one.standard_errors - 1) < 0.15

fig, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.hist(estimates, bins=40, density=True, alpha=0.4, label="estimates from 2,000 data sets")
grid = np.linspace(estimates.min(), estimates.max(), 200)
error = float(one.standard_errors)
density = np.exp(-0.5 * ((grid - true_logit) / error) ** 2) / error / np.sqrt(2 * np.pi)
axes.plot(grid, density, "k", label="normal, standard error of the first")
axes.set(xlabel="estimated logit")
axes.legend()
plt.show()

# %% [markdown]
# A 95 % interval should hold the truth 95 times in a hundred:

# %%
errors = (n * share * (1 - share)) ** -0.5
covered = np.mean(np.abs(estimates - true_logit) < 1.96 * errors)
assert 0.93 < covered < 0.97
print(f"covered in {covered:.1%} of the data sets")

# %% [markdown]
# ## A regression, with its table
#
# Counts whose rate depends on a feature, by Poisson regression from zeros. The table is laid out as statsmodels' is.

# %%
x = np.column_stack([rng.normal(size=300), np.ones(300)])
y = rng.poisson(np.exp(x @ [0.5, 1.0]))


def poisson(beta, data):
    x, y = data
    return jaxinfo.poisson_nll(y, x @ beta)


data = (jnp.asarray(x), jnp.asarray(y))
regression = fit(poisson, jnp.zeros(2), data)
print(regression.summary())
assert regression.reason == Reason.CONVERGED

# %% [markdown]
# The standard errors are those of $(X^\top \mathrm{diag}(\mu)\, X)^{-1}$. Where the counts scatter more than a Poisson
# distribution does, the curvature no longer tells how the estimate scatters; the *sandwich*
# $H^{-1} \left(\sum_i g_i g_i^\top\right) H^{-1}$ still does.

# %%
mu = np.exp(x @ np.asarray(regression.params))
wanted = np.sqrt(np.diagonal(np.linalg.inv((x * mu[:, None]).T @ x)))
assert np.allclose(regression.standard_errors, wanted, rtol=1e-6)

spread = rng.gamma(0.5, 2.0, size=(200, 300))  # overdispersed: the rate itself is random
fits = jax.jit(jax.vmap(lambda y: jaxinfo.fitting.minimize(poisson, jnp.zeros(2), (data[0], y))[0]))
samples = rng.poisson(np.exp(x @ [0.5, 1.0]) * spread)
scatter = np.std(np.asarray(fits(jnp.asarray(samples))), axis=0)
over = fit(poisson, jnp.zeros(2), (data[0], jnp.asarray(samples[0])))
observed, sandwich = np.asarray(over.errors("observed")), np.asarray(over.errors("sandwich"))
print("true scatter", scatter, " observed information", observed, " sandwich", sandwich)
assert np.all(observed < 0.75 * scatter)
assert np.all(np.abs(sandwich / scatter - 1) < 0.4)

# %% [markdown]
# ## Separation: no maximum
#
# The species setosa of the irises can be told from the others by a line. A steeper slope there is always likelier, and
# the likelihood tends to a bound that it does not reach. A solver that watches the loss or the gradient stops somewhere
# and reports coefficients; they are arbitrary. Here the parameters are seen to run away while the likelihood hardly
# grows, and the direction they run in is part of the result.

# %%
iris = datasets.classification("iris")
features, labels = jnp.asarray(datasets.standardise(iris.features)), jnp.asarray(iris.labels)


def softmax_regression(params, data):
    x, labels = data
    return jaxinfo.softmax_cross_entropy(x @ params["W"] + params["b"][None, :], labels)


start = {"W": jnp.zeros((4, 3)), "b": jnp.zeros(3)}
separated = fit(softmax_regression, start, (features, labels))
assert separated.reason == Reason.SEPARATED
assert separated.direction is not None
print(separated.reason, "-", separated.detail)


def along(t):
    moved = jax.tree.map(lambda p, d: p + t * d, separated.params, separated.direction)
    return float(jnp.sum(softmax_regression(moved, (features, labels))))


distances = np.array([0.0, 1.0, 3.0, 10.0, 30.0])
losses = np.array([along(t) for t in distances])
assert np.all(losses <= losses[0] + 1e-9)  # further out it is no worse
assert abs(losses[0] - 5.949273) < 1e-5

# %% [markdown]
# A penalty makes a maximum again: it is the negative logarithm of a prior, and the estimate is called MAP. What is
# left of the runaway is a coefficient as large as the prior lets it be.

# %%
strengths = [1e-6, 1e-4, 1e-2, 1.0]
norms = []
for strength in strengths:
    penalised = fit(
        softmax_regression, start, (features, labels), penalty=lambda p, s=strength: s / 2 * jnp.sum(p["W"] ** 2)
    )
    assert penalised.reason == Reason.CONVERGED
    norms.append(float(jnp.linalg.norm(penalised.params["W"])))
assert np.all(np.diff(norms) < 0)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
history = separated.history
left.semilogy(history.decrement, "s-", ms=4, label="unpenalised: a constant factor a step")
left.semilogy(penalised.history.decrement, "o-", ms=4, label="penalised: faster and faster")
left.set(xlabel="step", ylabel="Newton decrement / 2 [nats]")
left.legend()
right.loglog(strengths, norms, "o-")
right.set(xlabel="strength of the penalty", ylabel="norm of the weights")
plt.show()

# %% [markdown]
# ## A degenerate likelihood
#
# A normal distribution fitted to equal numbers has no maximum either: the narrower, the likelier. The result names the
# parameter.

# %%


def normal(params, x):
    return jaxinfo.gaussian_nll(x, jnp.broadcast_to(params["mean"], x.shape), jnp.exp(params["log_variance"]))


point = fit(normal, {"mean": 0.0, "log_variance": 0.0}, jnp.full(10, 0.3))
assert point.reason == Reason.DEGENERATE
assert "log_variance" in point.detail
print(point.detail)
