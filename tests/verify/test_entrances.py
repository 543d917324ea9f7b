"""The assertions, the drop-in, the fixture, the command and `checked`."""

import json
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinfo import verify

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.usefixtures("as_user")

X = jnp.array([0.5, -1.25, 2.0], jnp.float32)


@jax.custom_jvp
def wrong(x: jax.Array) -> jax.Array:
    return jnp.sin(x)


wrong.defjvps(lambda t, out, x: 1.001 * jnp.cos(x) * t)

LOGITS = jnp.array([[1.0, 2.0, -3.0], [0.0, 0.5, 0.25]], jnp.float32)
LABELS = jnp.array([2, 0], jnp.int32)
loss = optax.softmax_cross_entropy_with_integer_labels


def test_assert_gradients_raises_the_report_through_chex() -> None:
    assert verify.assert_gradients(jnp.sin, X, order=1)
    with pytest.raises(AssertionError, match=r"(?s)\[Chex\].*WRONG.*args\[0\]"):
        verify.assert_gradients(wrong, X, order=1)


@pytest.mark.parametrize("declared", [{"shape": ()}, {"shape": (3,)}, {"dtype": jnp.float16}])
def test_assert_loss_wants_what_is_declared(declared: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        verify.assert_loss(loss, LOGITS, LABELS, **declared)


def test_assert_loss_accepts_a_right_one_and_no_other() -> None:
    verify.assert_loss(loss, LOGITS, LABELS, shape=(2,), dtype=jnp.float32)
    with pytest.raises(AssertionError, match="finite"):
        verify.assert_loss(loss, LOGITS.at[0, 0].set(jnp.nan), LABELS)
    with pytest.raises(AssertionError, match="WRONG"):
        verify.assert_loss(lambda x: wrong(x).sum(), X)


def test_check_grads_is_a_drop_in() -> None:
    verify.check_grads(jnp.sin, (X,), 1, ["fwd", "rev"], 1e-3, 1e-3, 1e-4)
    verify.check_grads(lambda x: x**3, (X[:1],), order=3, modes=("rev",))
    with pytest.raises(AssertionError):
        verify.check_grads(wrong, (X,), order=1)
    with pytest.raises(ValueError, match="`modes`"):
        verify.check_grads(jnp.sin, (X,), order=1, modes=("forward",))


def test_checked_raises_on_values_under_jit() -> None:
    guarded = verify.checked(loss)
    chex.assert_trees_all_close(guarded(LOGITS, LABELS), loss(LOGITS, LABELS))
    with pytest.raises(AssertionError, match=r"labels must be in \[0, 3\)"):
        guarded(LOGITS, jnp.array([0, 3]))
    with pytest.raises(AssertionError, match="non-finite"):
        guarded(LOGITS.at[0, 0].set(jnp.inf), LABELS)
    where = jnp.array([[True], [False]])
    guarded(LOGITS, jnp.array([0, -100]), where=where)  # what is not counted is not looked at


def test_the_fixture_comes_with_the_plugin_and_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_first():\n    assert not {'jax', 'jaxinfo'} & set(sys.modules)\n"
        "def test_fixture(assert_gradients):\n"
        "    import jax.numpy as jnp\n    assert_gradients(jnp.sin, jnp.ones(2), order=1)\n"
    )
    # -p names the entry point where jaxinfo is installed, and the module where it is only on the path
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_jaxinfo", "-p", "no:jaxtyping", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def command(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    pytest.importorskip("typer")
    from jaxinfo.cli import main

    with pytest.raises(SystemExit) as end:
        main(["verify", *args])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_command_says_so_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    right = command(capsys, "jax.numpy:tanh", "--shape", "2,3", "--order", "1", "--json")
    assert right[0] == 0
    assert json.loads(right[1])["verdict"] == "CORRECT"
    code, out, _ = command(capsys, f"{__name__}:wrong", "--shape", "3", "--order", "1")
    assert code == 1
    assert out.startswith("WRONG")


def angry(x: object) -> object:
    raise KeyError(str(x)[:5])


def squares(z: jax.Array) -> jax.Array:
    assert jnp.issubdtype(z.dtype, jnp.complexfloating)
    return jnp.sum(jnp.real(z * jnp.conj(z)))


def test_command_draws_complex_numbers_and_labels_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, f"{__name__}:squares", "--shape", "(3,)", "--dtype", "complex128", "--order", "1")[0] == 0
    from jaxinfo.cli._verify import _arguments

    _, labels = _arguments([(2, 300), (1000,)], [jnp.float32, jnp.int8], np.random.default_rng(0))
    assert labels.dtype == jnp.int8
    assert bool((labels >= 0).all())


@pytest.mark.parametrize(
    "args",
    [
        ("jax.nn:nothing", "--shape", "3"),
        ("jax.nn", "--shape", "3"),
        ("jax.nn:relu", "--shape", "a,b"),
        ("jax.nn:relu", "--shape", "3", "--dtype", "float31"),
        ("jax.nn:relu", "--shape", "3", "--dtype", "str"),
        ("jax.nn:relu", "--shape", "8 3"),
        ("jax.nn:relu", "--shape", "8,,3"),
        ("jax.nn:relu", "--shape", "99999999999999"),
        (".nn:relu", "--shape", "3"),
        (f"{__name__}:angry", "--shape", "3"),
    ],
)
def test_command_refuses_in_one_sentence(capsys: pytest.CaptureFixture[str], args: tuple[str, ...]) -> None:
    code, out, err = command(capsys, *args)
    assert code == 2
    assert out == ""
    assert err.startswith("jaxinfo: ")
    assert err.count("\n") == 1
