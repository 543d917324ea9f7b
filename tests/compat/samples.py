"""torch's own test samples (OpInfo and ModuleInfo, which ship in its wheel) as calls of torch.nn.functional."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("expecttest", reason="expecttest, which torch's samples need, is not installed")
import torch
import torch.nn.functional as F
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db

OPS = {
    "cross_entropy": "nn.functional.cross_entropy",
    "nll_loss": "nn.functional.nll_loss",
    "kl_div": "nn.functional.kl_div",
    "binary_cross_entropy": "nn.functional.binary_cross_entropy",
    "binary_cross_entropy_with_logits": "nn.functional.binary_cross_entropy_with_logits",
    "gaussian_nll_loss": "nn.functional.gaussian_nll_loss",
    "poisson_nll_loss": "nn.functional.poisson_nll_loss",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "logsumexp": "logsumexp",
}
MODULES = {
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
    "kl_div": "KLDivLoss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "gaussian_nll_loss": "GaussianNLLLoss",
    "poisson_nll_loss": "PoissonNLLLoss",
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
}
JAX_DTYPES = {
    torch.float64: jnp.float64,
    torch.float32: jnp.float32,
    torch.bfloat16: jnp.bfloat16,
    torch.float16: jnp.float16,
}


class Call(NamedTuple):
    """One call of a function of torch.nn.functional."""

    args: tuple
    kwargs: dict[str, Any]


def torch_function(name: str) -> Any:
    """Return torch's function of that name."""
    return torch.logsumexp if name == "logsumexp" else getattr(F, name)


def calls(name: str, dtype: torch.dtype) -> Iterator[Call]:
    """Yield every call of `name` that torch's samples make in `dtype`."""
    torch.manual_seed(0)
    for op in op_db:
        if op.name == OPS[name]:
            source = op.reference_inputs if name == "logsumexp" else op.sample_inputs
            for sample in source("cpu", dtype, requires_grad=False):
                yield Call((sample.input, *sample.args), dict(sample.kwargs))
    for module in module_db:
        if module.module_cls.__name__ == MODULES.get(name):
            options = {"device": "cpu", "dtype": dtype, "requires_grad": False, "training": True}
            for sample in module.module_inputs_func(module, **options):
                yield _as_call(sample)


def error_calls(name: str) -> Iterator[Call]:
    """Yield every call of `name` that torch's own tests expect to raise."""
    torch.manual_seed(0)
    for op in op_db:
        if op.name == OPS[name] and op.error_inputs_func is not None:
            for error in op.error_inputs("cpu"):
                sample = error.sample_input
                yield Call((sample.input, *sample.args), dict(sample.kwargs))
    for module in module_db:
        if module.module_cls.__name__ == MODULES.get(name) and module.module_error_inputs_func is not None:
            options = {"device": "cpu", "dtype": torch.float64, "requires_grad": False, "training": True}
            for error in module.module_error_inputs_func(module, **options):
                yield _as_call(error.module_error_input)


def _as_call(sample: Any) -> Call:
    """A loss module's constructor arguments are its function's keyword arguments; Softmax has `dim` only."""
    made = sample.constructor_input
    kwargs = dict(made.kwargs) | ({"dim": made.args[0]} if made.args else {})
    return Call(tuple(sample.forward_input.args), kwargs | dict(sample.forward_input.kwargs))


def convert(value: Any) -> Any:
    """Return what jaxinfo is given for what torch is given."""
    if isinstance(value, torch.dtype):
        return JAX_DTYPES[value]
    if not isinstance(value, torch.Tensor):
        return value
    if not value.is_floating_point():
        return jnp.asarray(value.numpy())
    return jnp.asarray(value.detach().to(torch.float64).numpy()).astype(JAX_DTYPES[value.dtype])


def leaves(call: Call) -> list[torch.Tensor]:
    """Return the floating tensors of a call, in the order of `with_leaves`."""
    values = [*call.args, *call.kwargs.values()]
    return [v for v in values if isinstance(v, torch.Tensor) and v.is_floating_point()]


def with_leaves(call: Call, new: list[Any], other: Any = lambda v: v) -> Call:
    """Return the call with its floating tensors replaced by `new`, and what is left passed through `other`."""
    rest = iter(new)

    def put(v: Any) -> Any:
        return next(rest) if isinstance(v, torch.Tensor) and v.is_floating_point() else other(v)

    return Call(tuple(map(put, call.args)), {k: put(v) for k, v in call.kwargs.items()})


def spread(calls: Iterable[Call], start: int = 0) -> list[Call]:
    """Return few of the calls that show every set of options with each kind of targets, and every shape, once.

    Of the calls that share a set of options another one is taken for each, so that their shapes take turns.
    """
    every = list(calls)
    alike: dict[str, list[Call]] = {}
    for call in every:
        kinds = [getattr(v, "is_floating_point", bool)() for v in call.args]
        options = {k: v is not None if isinstance(v, torch.Tensor) else v for k, v in call.kwargs.items()}
        alike.setdefault(f"{kinds} {options}", []).append(call)
    chosen = [group[(start + n) % len(group)] for n, group in enumerate(alike.values())]
    shapes = {_shapes(call): call for call in reversed(every)}
    for call in chosen:
        shapes.pop(_shapes(call), None)
    return chosen + list(shapes.values())


def _shapes(call: Call) -> str:
    return str([(v.shape, v.dtype) if isinstance(v, torch.Tensor) else v for v in call.args])


def described(call: Call) -> str:
    """Return the call with shapes in place of tensors."""

    def short(v: Any) -> Any:
        return f"{v.dtype}{list(v.shape)}" if isinstance(v, torch.Tensor) else v

    return f"{list(map(short, call.args))} { ({k: short(v) for k, v in call.kwargs.items()}) }"


class Answer(NamedTuple):
    """A value, its dtype, and the vector-Jacobian product for each leaf: None where there is no derivative."""

    value: np.ndarray
    dtype: str
    gradients: list[np.ndarray | None]


def torch_answer(name: str, call: Call) -> Answer:
    """Return torch's answer, computed in float64 from the given inputs; the dtype is that without the detour."""
    function = torch_function(name)
    plain = function(*call.args, **call.kwargs)
    wide = [v.detach().to(torch.float64).requires_grad_() for v in leaves(call)]
    kwargs = {k: torch.float64 if isinstance(v, torch.dtype) else v for k, v in call.kwargs.items()}
    try:
        out, grads = _differentiate(function, Call(call.args, kwargs), wide)
    except RuntimeError:  # torch has no derivative with respect to the weights of class indices
        wide = [v.detach().requires_grad_(i == 0) for i, v in enumerate(wide)]
        out, grads = _differentiate(function, Call(call.args, kwargs), wide)
    arrays = [None if g is None else g.numpy() for g in grads]
    return Answer(out.detach().numpy(), str(plain.dtype).removeprefix("torch."), arrays)


def _differentiate(function: Any, call: Call, wide: list[torch.Tensor]) -> tuple[torch.Tensor, list]:
    args, kwargs = with_leaves(call, wide)
    out = function(*args, **kwargs)
    wanted = [v for v in wide if v.requires_grad]
    if not out.requires_grad:
        return out, [None] * len(wide)
    found = iter(torch.autograd.grad(out, wanted, torch.from_numpy(cotangent(out.shape)), allow_unused=True))
    return out, [next(found) if v.requires_grad else None for v in wide]


def jax_answers(function: Any, calls: list[Call], *, gradients: bool) -> list[Answer]:
    """Return jaxinfo's answers to the same calls, from one compiled program."""

    def answer(call: Call, given: list[jax.Array]) -> tuple[jax.Array, list]:
        def of(given: list[jax.Array]) -> jax.Array:
            args, kwargs = with_leaves(call, given, convert)
            return function(*args, **kwargs)

        if not gradients:
            return of(given), [None] * len(given)
        out, pull = jax.vjp(of, given)
        return out, *pull(jnp.asarray(cotangent(out.shape)).astype(out.dtype))

    run = quick_jit(lambda every: [answer(call, given) for call, given in zip(calls, every, strict=True)])
    found = run([[convert(v) for v in leaves(call)] for call in calls])
    return [_as_answer(out, grads) for out, grads in found]


def _as_answer(out: jax.Array, grads: list[jax.Array | None]) -> Answer:
    arrays = [None if g is None else np.asarray(g).astype(np.float64) for g in grads]
    return Answer(np.asarray(out).astype(np.float64), str(out.dtype), arrays)


def quick_jit(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return `f` compiled in little time: each sample runs once, and the compiler takes nearly all the time."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """Return a fixed cotangent, exact in every dtype, in which no two neighbours agree."""
    size = int(np.prod(shape))
    return ((np.arange(size) % 7 - 3.0) / 4 + 0.125).reshape(shape)
