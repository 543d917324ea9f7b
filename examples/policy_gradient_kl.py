"""A policy gradient held near a reference policy by a KL penalty, as in PPO and GRPO.

`linear_token_statistics` gives the log-probability of each sampled token and the entropy of its distribution without
holding [N, V]. The penalty is estimated from r = log reference - log policy at the samples; beside it stands the exact
divergence, `linear_kl_divergence`. Shown, over all tokens and so without sampling noise:

- k1, k2 and k3 as *values*: k1 and k3 have the exact divergence as their mean, k2 only nearly;
- as *losses* they differ: the gradient of k2 is that of KL(policy || reference), the gradient of k3 is that of
  KL(reference || policy), the other divergence, and the gradient of k1 is 0.

    python examples/policy_gradient_kl.py            # 4,000 tokens
    python examples/policy_gradient_kl.py --small    # seconds
"""

import argparse
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxinfo

ESTIMATORS: tuple[str, ...] = ("k1", "k2", "k3")
PENALTY = 2.0
EPS = float(np.finfo(np.float32).eps)


class Batch(NamedTuple):
    """States [N, D], the tokens [N] sampled in them, and the log-probability they had then."""

    hidden: jax.Array
    tokens: jax.Array
    old: jax.Array


class Figures(NamedTuple):
    """Of one step: mean reward, exact divergence, its estimate and the standard error of that."""

    reward: jax.Array
    exact: jax.Array
    k3: jax.Array
    error: jax.Array


def log_prob(kernel: jax.Array, hidden: jax.Array, tokens: jax.Array) -> jax.Array:
    """Return the log-probability of each token."""
    return jaxinfo.linear_token_statistics(hidden, kernel, tokens).log_prob


def exact_kl(kernel: jax.Array, reference: jax.Array, hidden: jax.Array) -> jax.Array:
    """Return KL(policy || reference), averaged over the states."""
    return jaxinfo.mean(jaxinfo.linear_kl_divergence(hidden, kernel, hidden, reference))


def estimated_kl(kernel: jax.Array, reference: jax.Array, batch: Batch, estimator: str) -> jax.Array:
    """Return an estimate for each token, to be averaged over tokens that the policy has sampled."""
    r = log_prob(reference, batch.hidden, batch.tokens) - log_prob(kernel, batch.hidden, batch.tokens)
    return jaxinfo.kl_estimate(r, estimator=estimator)


def objective(kernel: jax.Array, reference: jax.Array, batch: Batch, advantage: jax.Array, beta: float) -> jax.Array:
    """Return the clipped loss of PPO with GRPO's penalty."""
    ratio = jnp.exp(log_prob(kernel, batch.hidden, batch.tokens) - batch.old)
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
    return jaxinfo.mean(beta * estimated_kl(kernel, reference, batch, "k3") - gain)


def sample(key: jax.Array, kernel: jax.Array, hidden: jax.Array) -> Batch:
    """Draw a token in each state; a sampler may hold the logits of the tokens it is at."""
    tokens = jax.random.categorical(key, hidden @ kernel)
    return Batch(hidden, tokens, log_prob(kernel, hidden, tokens))


def compare_estimators(kernel: jax.Array, reference: jax.Array, state: jax.Array) -> None:
    """Take values and gradients of the estimators over all tokens in one state, each as often as the policy does."""
    vocabulary = kernel.shape[1]
    hidden, every = jnp.broadcast_to(state, (vocabulary, len(state))), jnp.arange(vocabulary)
    batch = Batch(hidden, every, log_prob(kernel, hidden, every))

    def mean_of(kernel: jax.Array, estimator: str) -> jax.Array:
        often = jax.lax.stop_gradient(jnp.exp(batch.old))  # samples do not follow the parameters
        return jaxinfo.total(estimated_kl(kernel, reference, batch, estimator), weights=often)[0]

    def everything(kernel: jax.Array) -> Any:
        exact = [lambda k: exact_kl(k, reference, state[None]), lambda k: exact_kl(reference, k, state[None])]
        means = [functools.partial(mean_of, estimator=name) for name in ESTIMATORS]
        return [jax.value_and_grad(f)(kernel) for f in exact + means]

    (forward, to_forward), (backward, to_backward), *found = jax.device_get(jax.jit(everything)(kernel))
    table, scale = dict(zip(ESTIMATORS, found, strict=True)), np.abs(to_forward).max()
    off = {
        name: [np.abs(gradient - wanted).max() / scale for wanted in (to_forward, to_backward, 0)]
        for name, (_, gradient) in table.items()
    }
    print(f"exact: KL(policy || reference) {forward:.5f}, KL(reference || policy) {backward:.5f}")
    print("as a loss: its mean, and how far its gradient is from that of either divergence")
    for name, (first, second, _) in off.items():
        print(f"  {name}: {table[name][0]:.5f}; {first:.0e} from the first, {second:.0e} from the second")
    close = 256 * EPS
    assert max(abs(table[name][0] - forward) for name in ("k1", "k3")) <= close * forward
    assert off["k1"][2] <= close  # to 0
    assert off["k2"][0] <= close < off["k2"][1]
    assert off["k3"][1] <= close < off["k3"][0]


def step_of(optimizer: optax.GradientTransformation, reference: jax.Array, hidden: jax.Array, group: int) -> Any:
    """Return the compiled step: `group` samples in each state, advantages within the group, one update."""
    states = jnp.repeat(hidden, group, axis=0)

    @jax.jit
    def step(kernel: jax.Array, state: Any, key: jax.Array, beta: float) -> tuple[Any, Any, Figures]:
        batch = sample(key, kernel, states)
        reward = (batch.tokens < kernel.shape[1] // 10).astype(jnp.float32).reshape(-1, group)
        advantage = (reward - reward.mean(1, keepdims=True)) / (reward.std(1, keepdims=True) + 1e-6)
        gradient = jax.grad(objective)(kernel, reference, batch, advantage.ravel(), beta)
        updates, state = optimizer.update(gradient, state)
        k3 = estimated_kl(kernel, reference, batch, "k3")
        figures = Figures(reward.mean(), exact_kl(kernel, reference, hidden), k3.mean(), k3.std() / len(k3) ** 0.5)
        return optax.apply_updates(kernel, updates), state, figures

    return step


def main(vocabulary: int, features: int, states: int, group: int, steps: int) -> None:
    """Raise the chance of the first tenth of the tokens, without the penalty and with it; compare the estimators."""
    of_kernel, of_hidden = jax.random.split(jax.random.key(0))
    reference = jax.random.normal(of_kernel, (features, vocabulary))
    hidden = jax.random.normal(of_hidden, (states, features)) / features**0.5
    optimizer = optax.adam(0.05)
    step = step_of(optimizer, reference, hidden, group)
    last = {}
    for beta in (0.0, PENALTY):
        print(f"beta {beta}, {vocabulary:,} tokens, {states} states x {group} samples")
        kernel, state = reference, optimizer.init(reference)
        for i in range(steps):
            kernel, state, last[beta] = step(kernel, state, jax.random.key(i), beta)
            if i % max(1, steps // 5) == 0 or i == steps - 1:
                reward, exact, k3, error = last[beta]
                print(f"  step {i:3d}: reward {reward:.2f}, KL {exact:.4f} exact, {k3:.4f} +- {error:.4f} by k3")
    assert last[0.0].reward > last[PENALTY].reward > 0.2  # 0.1 by chance
    assert last[0.0].exact > last[PENALTY].exact
    assert abs(last[PENALTY].k3 - last[PENALTY].exact) < 6 * last[PENALTY].error
    compare_estimators(kernel, reference, hidden[0])


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--small", action="store_true", help="seconds instead of minutes")
    full, small = (4000, 32, 16, 64, 40), (300, 16, 8, 32, 20)
    main(*(small if options.parse_args().small else full))
