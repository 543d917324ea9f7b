"""Checkpoints: the loop's whole state on disk every so often, so that a fit that was killed goes on as if not.

orbax writes each into a directory of its own and renames it when it is complete. A check sum over all
arrays goes with them: what a crash of the machine has torn is noticed and the checkpoint before it used.

The last one, of a fit that is over, is the state before the turns that ended it, not after them: who resumes with
more steps or a smaller tolerance makes these turns again, and comes by the same bits to where they lead now.
"""

import shutil
import time
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo import _checks
from jaxinfo.fitting._problem import Problem
from jaxinfo.fitting._state import FitState

_KEEP = 3


class Checkpoint(NamedTuple):
    """Where and how often a fit is saved.

    Attributes:
        directory: a directory of its own for the fit; made if it is not there.
        steps: save every so many steps.
        seconds: save when so many have passed since the last; 60 unless `steps` or this is given.
    """

    directory: str | Path
    steps: int | None = None
    seconds: float | None = None


class Saver:
    """Saves and restores the states of one fit."""

    def __init__(self, checkpoint: Checkpoint, problem: Problem, *, resume: bool) -> None:
        """Open the directory.

        Raises:
            ImportError: orbax is not installed.
            TypeError: `checkpoint` names no directory.
            ValueError: the directory holds another fit, and this one is not to go on with it, or cannot be made.
        """
        try:
            import orbax.checkpoint as ocp
        except ModuleNotFoundError as error:
            raise ImportError("`checkpoint` needs orbax-checkpoint: pip install 'jaxinfo[checkpoint]'.") from error
        if not isinstance(checkpoint.directory, str | Path):
            got = type(checkpoint.directory).__name__
            raise TypeError(f"`checkpoint` must be a directory as a str or Path, or a Checkpoint, got {got}.")
        for value, name, low in ((checkpoint.steps, "steps", 1), (checkpoint.seconds, "seconds", 0)):
            if value is not None:
                _checks.check_number(value, f"checkpoint.{name}", low=low, wanted=f"a number of at least {low}")
        nothing_said = checkpoint.steps is None and checkpoint.seconds is None
        self.steps = checkpoint.steps
        self._seconds = 60.0 if nothing_said else checkpoint.seconds
        self._directory = Path(checkpoint.directory).absolute()
        self._fingerprint = _fingerprint(problem)
        self._ocp = ocp
        self._saved_step, self._saved_at = 0, time.monotonic()
        if not resume and self._complete():
            raise ValueError(
                f"`checkpoint` must be an empty directory, or come with resume=True to go on; {str(self._directory)!r} "
                "holds checkpoints of an earlier fit."
            )
        if jax.process_index() == 0:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                where = str(self._directory)
                raise ValueError(
                    f"`checkpoint` must be a directory to write in, got {where!r}: {error.strerror}."
                ) from error

    def next_stop(self, step: int) -> int | None:
        """Return the step before which the loop should come back to be saved."""
        return None if self.steps is None else (step // self.steps + 1) * self.steps - 1

    def save(self, state: FitState, *, last: bool = False) -> None:
        """Save `state` if it is time, or the fit is over; by the first process, whose state is everybody's.

        Raises:
            OSError: the directory cannot be written to.
        """
        step = int(state.step)
        due = self.steps is not None and step // self.steps > self._saved_step // self.steps
        due = due or (self._seconds is not None and time.monotonic() - self._saved_at >= self._seconds)
        if not (due or last) or jax.process_index() != 0:
            return
        arrays = [_as_numpy(leaf) for leaf in jax.tree.leaves(state)]
        tree = {f"{i:04d}": array for i, array in enumerate(arrays)}
        tree["checksum"] = np.asarray([_checksum(arrays), self._fingerprint], np.uint32)
        name = f"step_{step:09d}" + ("_end" if last else "")
        try:
            with self._checkpointer() as checkpointer:
                checkpointer.save(self._directory / name, tree, force=True)
        except OSError as error:
            where = str(self._directory)
            raise OSError(f"`checkpoint` must be a directory to write in, got {where!r}: {error}.") from error
        self._saved_step, self._saved_at = step, time.monotonic()
        for old in self._complete()[_KEEP:]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, state: FitState) -> FitState | None:
        """Return the last state that was saved whole, in the structure of `state`; None if there is none.

        Raises:
            ValueError: it is of another fit.
        """
        for folder in self._complete():
            try:
                arrays, fingerprint = self._read(folder)
            except Exception as error:  # whatever orbax says of a torn file
                warnings.warn(f"The checkpoint {folder.name} is torn and was skipped: {error}", stacklevel=4)
                continue
            if fingerprint != self._fingerprint:
                raise ValueError(
                    f"`checkpoint` must hold an earlier run of this fit, got one of another method, key, or shapes in "
                    f"{str(folder)!r}."
                )
            restored = _as_state(arrays, state)
            self._saved_step = int(restored.step)
            return restored
        return None

    def _read(self, folder: Path) -> tuple[list[np.ndarray], int]:
        with self._checkpointer() as checkpointer:
            tree = {name: np.asarray(array) for name, array in checkpointer.restore(folder).items()}
        checksum, fingerprint = (int(x) for x in tree.pop("checksum"))
        arrays = [tree[name] for name in sorted(tree)]
        if _checksum(arrays) != checksum:
            raise ValueError("its check sum does not fit its content.")
        return arrays, fingerprint

    def _checkpointer(self) -> Any:
        ocp = self._ocp
        if jax.process_count() == 1:
            return ocp.PyTreeCheckpointer()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(),
            active_processes={jax.process_index()},
            barrier_sync_key_prefix=f"jaxinfo{jax.process_index()}",
        )
        return ocp.Checkpointer(
            ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
        )

    def _complete(self) -> list[Path]:
        """Return the checkpoints whose directories got their final name, the latest first."""
        found = [p for p in self._directory.glob("step_*") if p.is_dir() and "tmp" not in p.name]
        return sorted(found, key=lambda p: p.name, reverse=True)


def _fingerprint(problem: Problem) -> int:
    """Return a number that differs between fits that cannot go on from one another."""
    key = jax.random.key_data(problem.inputs.key).tolist()
    shapes = [(jnp.shape(x), str(jnp.result_type(x))) for x in jax.tree.leaves(problem.inputs.data)]
    facts = (problem.method.name, problem.method.batch_size, problem.examples, key, shapes)
    return zlib.crc32(repr(facts).encode())


def _checksum(arrays: list[np.ndarray]) -> int:
    total = 0
    for array in arrays:
        total = zlib.crc32(repr((array.shape, str(array.dtype))).encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return total


def _as_numpy(leaf: jax.Array) -> np.ndarray:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def check_same(problem: Problem, state: FitState) -> None:
    """Fail where this fit cannot go on from `state`: the steps are made already, or it has another objective.

    Shapes tell little of data, weights and penalty: the value they give the best point so far tells more.

    Raises:
        ValueError: it cannot.
    """
    if int(state.step) > problem.max_steps:
        raise ValueError(
            f"`max_steps` must be at least {int(state.step)} here, the steps that the checkpoint has made, got "
            f"{problem.max_steps}."
        )
    then = float(state.best.value)
    if not np.isfinite(then):
        return
    objective = jax.jit(lambda params, inputs: problem.at(inputs).objective(params)[0])
    now = float(objective(state.best.params, problem.inputs))
    size = max(abs(then), abs(float(state.first_value)))
    if not abs(now - then) <= float(jnp.finfo(state.best.value.dtype).eps) ** 0.5 * size:
        raise ValueError(
            f"`checkpoint` must hold an earlier run of this fit, got one of other data, weights or penalty: its best "
            f"point had the objective {then:.8g}, which now is {now:.8g}."
        )


def _as_state(arrays: list[np.ndarray], like: FitState) -> FitState:
    """Return the state, its history as long as this fit's max_steps asks."""
    leaves, structure = jax.tree.flatten(like)
    length = like.history.objective.shape
    series = {id(leaf) for leaf in like.history}
    if len(arrays) != len(leaves):
        raise ValueError("`checkpoint` must hold an earlier run of this fit, got one of another structure.")
    restored = []
    for array, leaf in zip(arrays, leaves, strict=True):
        if id(leaf) in series:
            array = np.concatenate([array, np.full(length, np.nan, array.dtype)])[: length[0]]
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            restored.append(jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf)))
        elif array.shape == leaf.shape and array.dtype == leaf.dtype:
            restored.append(jnp.asarray(array))
        else:
            raise ValueError(
                f"`checkpoint` must hold an earlier run of this fit, got {array.dtype}{array.shape} "
                f"where {leaf.dtype}{leaf.shape} was expected."
            )
    return jax.tree.unflatten(structure, restored)
