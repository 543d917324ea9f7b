"""The pytest plugin of jaxinfo: the fixture `assert_gradients`.

It stands outside the package so that loading it, which pytest does in every run, imports neither jaxinfo nor jax.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def assert_gradients() -> Callable[..., Any]:
    """Give `jaxinfo.verify.assert_gradients`: it raises with a report unless a function's derivatives are right."""
    from jaxinfo import verify

    return verify.assert_gradients
