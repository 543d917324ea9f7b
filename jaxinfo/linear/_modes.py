"""What holds where only reverse mode is had, and only once: everything else is refused, and the alternative named."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

_AGAIN = '`differentiation` must be "any" for forward mode and second derivatives, got "reverse".'


def once(slopes: Any) -> Any:
    """Return slopes that are not differentiated again: they stand for sums whose own slopes they do not hold.

    Raises:
        TypeError: they are.
    """
    with reverse_only():
        return _once(slopes)


@jax.custom_vjp
def _once(slopes: Any) -> Any:
    return slopes


def _once_forward(slopes: Any) -> tuple[Any, None]:
    return slopes, None


def _once_backward(_: None, g: Any) -> tuple[Any]:
    raise TypeError(_AGAIN)


_once.defvjp(_once_forward, _once_backward)


@contextmanager
def reverse_only() -> Iterator[None]:
    """Name the alternative where forward mode meets a derivative that has reverse mode alone.

    Raises:
        TypeError: it did.
    """
    try:
        yield
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        raise TypeError(_AGAIN) from error
