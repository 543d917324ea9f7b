"""Settings of every test: float64 available, nothing promoted or broadcast silently, eight CPU devices.

jaxinfo itself must not be imported here: `--jaxtyping-packages` has to hook its import first, and then
every annotation in the package is checked on every call.
"""

import gc
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # some jaxlib's warn, at length, of every program read from a cache

import jax
import jaxtyping
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

FEW = 2  # cases of a test in a run without the slow ones

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_traceback_in_locations_limit", 0)  # lines of Python in each instruction take their time

# Tracing makes objects by the million that live as long as a program does: looking through them each time some hundred
# are new takes a fifth of the whole run.
gc.set_threshold(200_000, 20, 100)


@contextmanager
def jax_defaults() -> Iterator[None]:
    """Run under jax's own settings, as a user would: float32, standard promotion."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Let an entry of the shared cache that another worker is still writing be no error: it is compiled again."""
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache:UserWarning")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run docstrings' examples as a user would, and call the cases of a test slow but for a few, evenly spread.

    A user's arrays are float32, and a `float` mixes with them; they print seven digits, as the eighth differs between
    releases of XLA. A short run sees each property on a few of the functions, dtypes and options that have it.
    """
    kin = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.runtest = jax_defaults()(np.printoptions(precision=7)(item.runtest))
        elif isinstance(item, pytest.Function) and not item.get_closest_marker("slow"):
            kin[item.parent, item.originalname].append(item)
    for cases in kin.values():
        shown = {i * (len(cases) - 1) // (FEW - 1) for i in range(FEW)}
        for i in set(range(len(cases))) - shown:
            cases[i].add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def _share_compiled_programs(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> None:
    """Compile a program once for all workers and modules of a run: compiling is most of what the tests do."""
    base = tmp_path_factory.getbasetemp()
    run = base.parent if hasattr(request.config, "workerinput") else base  # a worker has a folder of its own in it
    jax.config.update("jax_compilation_cache_dir", str(run / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # whether there is a cache is asked once, which collecting the tests has done


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs() -> Iterator[None]:
    """Keep the memory of a long run flat: no module holds on to what another compiled."""
    yield
    jax.clear_caches()


@pytest.fixture
def as_user() -> Iterator[None]:
    """Run a test under jax's own settings."""
    with jax_defaults():
        yield


@pytest.fixture
def own_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package's own errors speak: the checked annotations would refuse the same argument before them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
