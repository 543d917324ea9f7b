"""Arguments that cannot be used are refused in one sentence that names them and what came."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.verify import assert_loss, check_gradients, check_grads, hunt

pytestmark = pytest.mark.usefixtures("as_user", "own_errors")

X = jnp.asarray([[0.5, -1.0, 2.0]], jnp.float32)


def checked(**options: Any) -> Callable[[], Any]:
    return lambda: check_gradients(jnp.sin, X, **options)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "`f`, got NoneType": (lambda: check_gradients(None, X), TypeError),  # type: ignore[arg-type]
    "`order`, got 3": (checked(order=3), ValueError),
    "`order`, got Array": (checked(order=jnp.ones(2)), ValueError),
    "`modes`, got 3": (checked(modes=3), ValueError),
    "`modes`, got [['forward']]": (checked(modes=[["forward"]]), ValueError),
    "`directions`, got '3'": (checked(directions="3"), ValueError),
    "`directions`, got 2.5": (checked(directions=2.5), ValueError),
    "`directions`, got nan": (checked(directions=np.nan), ValueError),
    "`dtypes`, got []": (checked(dtypes=[]), TypeError),
    "`dtypes`, got <class": (checked(dtypes=jnp.float32), TypeError),
    "`dtypes`, got ['float33']": (checked(dtypes=["float33"]), TypeError),
    "`dtypes`, got [None]": (checked(dtypes=[None]), TypeError),
    "`seed`, got -1": (checked(seed=-1), ValueError),
    "`seed`, got 1.5": (checked(seed=1.5), ValueError),
    "`budget_seconds`, got '1'": (checked(budget_seconds="1"), ValueError),
    "`budget_seconds`, got nan": (checked(budget_seconds=np.nan), ValueError),
    "`shape`, got 2": (lambda: assert_loss(jnp.sum, X, shape=2), ValueError),  # type: ignore[arg-type]
    "`dtype`, got 'junk'": (lambda: assert_loss(jnp.sum, X, dtype="junk"), TypeError),
    "`loss`, got int": (lambda: assert_loss(1, X), TypeError),  # type: ignore[arg-type]
    "`modes`, got 5": (lambda: check_grads(jnp.sin, (X,), 1, modes=5), ValueError),  # type: ignore[arg-type]
    "`f`, got str": (lambda: hunt("f", X), TypeError),  # type: ignore[arg-type]
    "`examples`, got -1": (lambda: hunt(jnp.sin, X, examples=-1), ValueError),
    "`seed`, got 'a'": (lambda: hunt(jnp.sin, X, seed="a"), ValueError),  # type: ignore[arg-type]
    "`args`, got arrays of these dtypes: none": (lambda: hunt(jnp.sin, 1.0), ValueError),
    "`args`, got arrays of these dtypes: int32": (lambda: hunt(jnp.sin, jnp.arange(3)), ValueError),
    "`args`, got arrays of these dtypes: complex64": (lambda: hunt(jnp.sin, X + 1j), ValueError),
    "`f`, got none": (lambda: hunt(lambda x: "a", X), ValueError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(name: str) -> None:
    call, kind = REFUSED[name]
    with pytest.raises(kind) as refused:
        call()
    text = str(refused.value)
    argument, came = name.split(", ", 1)
    assert text.startswith(argument)
    assert came in text
    assert text.count(". ") == 0
    assert "must" in text


def test_an_integer_of_numpy_is_one() -> None:
    check_grads(jnp.sin, (X,), np.int64(1))  # type: ignore[arg-type]
