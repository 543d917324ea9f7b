"""Programs for devices that are not here: what is read from them, and what is said where they cannot be made."""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxinfo import bench
from jaxinfo.bench._cycles import estimated_cycles
from jaxinfo.bench._jaxprs import matmul_flops
from jaxinfo.bench._program import collectives

X = jax.ShapeDtypeStruct((8, 8), jnp.float32)
ONE = 2 * 8**3  # operations of a product of two such


def counted(f: Any, *args: Any) -> int | None:
    return matmul_flops(jax.make_jaxpr(f)(*args).jaxpr)


def loop(x: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda c, _: (jnp.tanh(c @ x), None), x, None, length=10)[0]


@pytest.mark.parametrize(
    ("f", "flops"),
    [
        (lambda x: x @ x + x, ONE),
        (loop, 10 * ONE),
        (lambda x: jax.lax.fori_loop(0, 3, lambda i, c: c @ x, x), 3 * ONE),
        (lambda x: jax.vmap(lambda y: x @ y)(jnp.stack([x, x])), 2 * ONE),
        (lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x), 2 * ONE),
        (jax.grad(lambda x: jnp.sum(jax.jit(loop)(x))), 30 * ONE),
        (lambda x: jax.lax.while_loop(lambda c: c[0, 0] < 1, lambda c: c @ x, x), None),
        (lambda x: jax.lax.while_loop(lambda c: c[0, 0] < 1, lambda c: c + x, x) @ x, ONE),
        (jnp.sin, 0),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_a_loop_counts_as_often_as_it_runs(f: Any, flops: int | None) -> None:
    assert counted(f, X) == flops


def test_the_derivative_rule_of_a_function_does_not_run() -> None:
    @jax.custom_jvp
    def f(x: jax.Array) -> jax.Array:
        return x @ x

    f.defjvp(lambda p, t: (f(*p), t[0] @ p[0] @ p[0]))
    assert counted(f, X) == ONE


def test_shards_count_together() -> None:
    mesh = jax.make_mesh((4,), ("x",), devices=jax.devices()[:4], axis_types=(AxisType.Auto,))
    f = jax.shard_map(lambda a, b: a @ b, mesh=mesh, in_specs=(P("x"), P()), out_specs=P("x"))
    assert counted(f, X, X) == ONE


def test_collectives_of_a_program() -> None:
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    f = jax.shard_map(lambda x: jax.lax.psum(x, "x"), mesh=mesh, in_specs=P("x"), out_specs=P())
    shape = jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=NamedSharding(mesh, P("x")))
    assert collectives(jax.jit(f).lower(shape).compile().as_text() or "") == {"all-reduce": 1}
    started = (
        "%a = (f32[8], f32[8]) all-gather-start(%x)\n%b = f32[8]{0} all-gather-done(%a)\n%c = f32[] all-gather(%b)"
    )
    assert collectives(started) == {"all-gather": 2}


PROGRAM = """\
%body (p: (s32[])) -> (s32[]) {
  %a = f32[8] fusion(%p), kind=kLoop, calls=%inner, backend_config={"estimated_cycles":"100"}
}

%cond (p: (s32[])) -> pred[] {
  %limit = s32[]{:T(128)} constant(31)
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

%left (p: f32[]) -> f32[] {
  %a = f32[] add(%p, %p), backend_config={"estimated_cycles":"7"}
}

%right (p: f32[]) -> f32[] {
  %a = f32[] add(%p, %p), backend_config={"estimated_cycles":"5"}
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %w = (s32[]) while(%t), condition=%cond, body=%body, metadata={op_name="while"}
  %c = f32[] conditional(%i, %x, %y), branch_computations={%left, %right}, metadata={op_name="cond"}
  ROOT %r = f32[8] add(%p, %p), backend_config={"estimated_cycles":"1000"}
}
"""


def test_cycles_of_a_loop_count_as_often_as_it_runs() -> None:
    assert estimated_cycles(PROGRAM) == 31 * 100 + 7 + 1000
    known = PROGRAM.replace('metadata={op_name="while"}', 'backend_config={"known_trip_count":{"n":"3"}}')
    assert estimated_cycles(known) == 3 * 100 + 7 + 1000
    assert estimated_cycles(PROGRAM.replace("direction=LT", "direction=NE")) is None
    assert estimated_cycles(PROGRAM.replace("1000", str(2**63 - 1))) is None  # how the compiler says "unknown"
    assert estimated_cycles("ENTRY %main (p: f32[8]) -> f32[8] {\n}") is None


@pytest.mark.parametrize(
    ("target", "extra", "package"),
    [("tpu-v5e", "tpu", "libtpu"), ("tpu-v5p", "tpu", "libtpu"), ("cuda-h100", "cuda", "jax_cuda13_plugin")],
)
def test_a_missing_extra_is_one_sentence(
    target: str, extra: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(bench.MissingExtraError) as error:
        bench.compile_for(jnp.sin, X, target=target)
    assert str(error.value) == (
        f"Compiling for {target} needs {package}, which is not installed: pip install 'jaxinfo[{extra}]'."
    )


def test_an_unknown_target_lists_the_known_ones() -> None:
    message = "`target` must be one of tpu-v5e, tpu-v5p, tpu-v6e, cuda-h100, got 'tpu-v4'."
    with pytest.raises(ValueError, match=f"^{message}$"):
        bench.compile_for(jnp.sin, X, target="tpu-v4")


@pytest.mark.parametrize(
    ("target", "devices", "message"),
    [
        ("tpu-v5e", "4x4x4", "must be a number or a topology such as '4x4', got '4x4x4'"),
        ("tpu-v5p", "8x8", "must be a number or a topology such as '4x4x4', got '8x8'"),
        ("tpu-v5e", "ax4", "must be a number or a topology"),
        ("tpu-v5e", 0, "must be a positive number or a topology, got 0"),
        ("tpu-v5e", 6, "must be 1, a power of 2 from 4 on, or a topology, got 6"),
        ("tpu-v5e", 2, "must be 1, a power of 2 from 4 on, or a topology, got 2"),
    ],
)
def test_devices_that_do_not_exist(
    target: str, devices: int | str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxinfo.bench._targets.check_installed", lambda target: None)
    with pytest.raises(ValueError, match=message):
        bench.mesh_for(target, devices, {"x": 1})


needs_libtpu = pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is not installed (extra tpu)")


@pytest.mark.tpu_compile
@needs_libtpu
@pytest.mark.usefixtures("as_user")
def test_a_program_for_a_tpu() -> None:
    made = bench.compile_for(loop, jnp.ones((256, 256)), target="tpu-v5e")  # a concrete array counts by its shape
    assert (made.devices, made.argument_bytes, made.output_bytes) == (1, 4 * 256**2, 4 * 256**2)
    assert made.matmul_flops == 10 * 2 * 256**3
    assert made.flops is not None
    assert made.flops < 2 * made.matmul_flops / 10  # the body once
    assert made.seconds is None  # the compiler's would be of one turn
    assert made.cycles is not None
    once = bench.compile_for(lambda x: jnp.tanh(x @ x), X.update(shape=(256, 256)), target="tpu-v5e")
    assert once.seconds is not None
    assert 0 < once.seconds < 1e-3


@pytest.mark.tpu_compile
@needs_libtpu
@pytest.mark.usefixtures("as_user")
def test_cycles_grow_with_the_turns_of_a_loop() -> None:
    cycles = []
    for turns in (100, 200, 400):
        f = lambda x, n=turns: jax.lax.scan(lambda c, _: (jnp.tanh(c @ x), None), x, None, length=n)[0]  # noqa: E731
        cycles.append(bench.compile_for(f, X.update(shape=(256, 256)), target="tpu-v5e").cycles or 0)
    assert cycles[2] - cycles[1] == 2 * (cycles[1] - cycles[0])
    assert cycles[1] - cycles[0] > 100


@pytest.mark.tpu_compile
@needs_libtpu
@pytest.mark.usefixtures("as_user")
def test_a_sharded_program_for_many_tpus() -> None:
    mesh = bench.mesh_for("tpu-v5e", "4x4", {"data": 8, "model": 2})
    assert mesh.size == 16

    def f(x: jax.Array) -> jax.Array:
        return jax.lax.psum(jnp.sum(x), ("data", "model"))

    sharded = jax.shard_map(f, mesh=mesh, in_specs=P("data", "model"), out_specs=P())
    x = jax.ShapeDtypeStruct((1024, 1024), jnp.float32, sharding=NamedSharding(mesh, P("data", "model")))
    made = bench.compile_for(sharded, x, target="tpu-v5e", devices="4x4")
    assert made.devices == 16
    assert made.collectives == {"all-reduce": 1}
    assert made.argument_bytes == 4 * 1024**2 // 16
    with pytest.raises(ValueError, match=r"`axes` must multiply to 16, the number of `devices`, got {'x': 8}"):
        bench.mesh_for("tpu-v5e", 16, {"x": 8})
    with pytest.raises(ValueError, match="`devices` must be a topology of tpu-v5e, got '3x3'"):
        bench.mesh_for("tpu-v5e", "3x3", {"x": 9})
