"""KL taken a tile of rows at a time: the same in value and every derivative, whatever the rows, and lean."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxinfo
from jaxinfo import _tiles

from .pairs import EDGES, ILLEGAL

ROWS = [*EDGES.values(), *ILLEGAL.values()]


@pytest.fixture
def tiles_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Return what sets the number of rows of a tile, None for rows in one piece; what was traced before is dropped."""

    def put(size: int | None) -> None:
        monkeypatch.setattr(_tiles, "tile_size", lambda classes: size)
        jax.clear_caches()

    return put


def derivatives(a: jax.Array, b: jax.Array) -> dict[str, jax.Array]:
    weights = jnp.linspace(0.5, 2, a.shape[0]).astype(a.dtype)
    total = lambda a, b: jnp.sum(jnp.where(jnp.isfinite(v := jaxinfo.kl_divergence(a, b)), v, 0) * weights)  # noqa: E731
    gradients = jax.grad(total, (0, 1))
    return {
        "value": jaxinfo.kl_divergence(a, b),
        "reverse": jnp.stack(gradients(a, b)),
        "forward": jax.jvp(jaxinfo.kl_divergence, (a, b), (jnp.ones_like(a), jnp.cos(jnp.nan_to_num(b))))[1],
        "second": jnp.stack(jax.jvp(gradients, (a, b), (jnp.sin(jnp.nan_to_num(a)), jnp.ones_like(b)))[1]),
        "vmap": jax.vmap(jaxinfo.kl_divergence)(jnp.stack([a, b]), jnp.stack([b, a])),
        "vmap of grad": jnp.stack(jax.vmap(gradients)(jnp.stack([a, b]), jnp.stack([b, a]))),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rows"), [("finite", 8), ("edges", 11), ("edges", 15)])
def test_tiles_change_nothing(tiles_of: Callable[[int | None], None], rows: int, kind: str) -> None:
    random = np.random.default_rng(rows)
    pairs = 3 * random.standard_normal((2, rows, 4))
    if kind == "edges":
        chosen = random.permutation(len(ROWS))[: rows - 4]
        pairs[:, : rows - 4] = np.moveaxis(np.asarray([ROWS[n] for n in chosen]), 1, 0)
    a, b = jnp.asarray(pairs, jnp.float64)
    results = []
    for size in (None, 4):
        tiles_of(size)
        program = jax.jit(derivatives)
        assert ("while" in program.lower(a, b).as_text()) == (size is not None)
        results.append(program(a, b))
    for name, want in results[0].items():
        got = np.asarray(results[1][name])
        np.testing.assert_allclose(got, np.asarray(want), rtol=1e-14, atol=1e-15, err_msg=name)


def test_batch_axes_and_a_class_axis_that_is_not_last(tiles_of: Callable[[int | None], None]) -> None:
    a, b = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 7)))
    want = jaxinfo.kl_divergence(a, b)
    tiles_of(4)
    np.testing.assert_allclose(jaxinfo.kl_divergence(a, b), want, rtol=1e-14)
    turned = jaxinfo.kl_divergence(jnp.moveaxis(a, -1, 0), jnp.moveaxis(b, -1, 0), axis=0)
    np.testing.assert_allclose(turned, want, rtol=1e-14)


def test_inside_shard_map(tiles_of: Callable[[int | None], None]) -> None:
    a, b = jnp.asarray(np.random.default_rng(1).standard_normal((2, 32, 7)))
    want = jaxinfo.kl_divergence(a, b)
    tiles_of(4)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    rows = PartitionSpec("data")
    sharded = jax.shard_map(jaxinfo.kl_divergence, mesh=mesh, in_specs=(rows, rows), out_specs=rows)
    np.testing.assert_allclose(jax.jit(sharded)(a, b), want, rtol=1e-14)


def test_value_holds_no_array_of_the_logits_size(tiles_of: Callable[[int | None], None]) -> None:
    tiles_of(64)
    logits = jax.ShapeDtypeStruct((4096, 1000), jnp.float32)
    memory = jax.jit(jaxinfo.kl_divergence).lower(logits, logits).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 0.2 * logits.size * logits.dtype.itemsize


def test_rows_over_several_devices_stay_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    for devices, cut in ((1, True), (8, False)):
        monkeypatch.setattr(jax, "device_count", lambda devices=devices: devices)
        assert (_tiles.tile_size(1000) is not None) == cut
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert all((_tiles.tile_size(classes) or 0) >= 1 for classes in (10**9, 0))
