"""Telling how a fit goes: to a callable, a live line on terminals and notebooks, or plain lines in a log."""

import math
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxinfo.fitting._result import Progress, Reason
from jaxinfo.fitting._state import FitState

_QUIET_SECONDS = 2.0  # a fit that is over by then needs no display
_LINE_SECONDS = 5.0  # between two lines in a log


class Reporter:
    """Tells what is new in a state; one for each fit, closed at its end."""

    def __init__(self, progress: Callable[[Progress], object] | bool | None, max_steps: int, tolerance: float) -> None:
        """Choose how to tell: `fit` explains `progress`."""
        self._tell = progress if callable(progress) else None
        shown = progress in (True, None) and jax.process_index() == 0
        self._display = _Display(0.0 if progress is True else _QUIET_SECONDS) if shown else None
        self._max_steps, self._tolerance = max_steps, tolerance
        self._seen = 0

    def begin(self) -> None:
        """Take the next state as one of another fit, of which nothing is told."""
        self._seen = 0

    def skip(self, state: FitState) -> None:
        """Take what `state` holds as told."""
        self._seen = turns(state)

    def report(self, state: FitState, seconds: float) -> None:
        """Tell the turns that are new."""
        if self._tell is None and self._display is None:
            return
        count = turns(state)
        if count == self._seen:
            return
        rows = np.stack([np.asarray(series) for series in state.history])[:, :count]
        left = seconds_left(rows[2], int(state.step), self._max_steps, self._tolerance, seconds / count)
        left = left if int(state.reason) == Reason.RUNNING else 0.0
        news = [
            Progress(step, *(float(x) for x in rows[:3, step]), seconds, left)  # pyright: ignore[reportCallIssue]
            for step in range(self._seen if self._tell else count - 1, count)
        ]
        self._seen = count
        for entry in news:
            if self._tell is not None:
                self._tell(entry)
        if self._display is not None:
            self._display.show(news[-1], self._max_steps)

    def close(self) -> None:
        """Take the display away."""
        if self._display is not None:
            self._display.close()


def turns(state: FitState) -> int:
    """Turns made: one more than steps once the loop has stopped."""
    return int(state.step) + (int(state.reason) != Reason.RUNNING)


def seconds_left(decrements: np.ndarray, step: int, max_steps: int, tolerance: float, per_step: float) -> float:
    """Estimate the time until the fit stops: from how fast the decrement falls, at most until the steps run out."""
    steps = float(max_steps - step)
    known = decrements[np.isfinite(decrements) & (decrements > 0)][-4:]
    if len(known) > 1 and known[-1] < known[0] and tolerance > 0:
        rate = math.log(known[0] / known[-1]) / (len(known) - 1)
        steps = min(steps, max(math.log(known[-1] / tolerance) / rate, 0.0))
    return steps * per_step


def line(progress: Progress, max_steps: int) -> str:
    """Return one line on a step."""
    left = f", about {duration(progress.seconds_left)} left" if math.isfinite(progress.seconds_left) else ""
    decrement = "" if math.isnan(progress.decrement) else f"  decrement {progress.decrement:.1e}"
    return (
        f"step {progress.step:,} of at most {max_steps:,}  objective {progress.objective:.8g}  "
        f"gradient {progress.gradient_norm:.1e}{decrement}  {duration(progress.seconds)}{left}"
    )


def duration(seconds: float) -> str:
    """Return a time in words as short as fits."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class _Display:
    """A live line where something can be redrawn, plain lines every few seconds where not; on stderr."""

    def __init__(self, quiet: float) -> None:
        self._quiet = quiet
        self._live: Any = None
        self._task: Any = None
        self._last_line = -math.inf
        self._rich = _redrawable()

    def show(self, progress: Progress, max_steps: int) -> None:
        if progress.seconds < self._quiet:
            return
        if self._rich:
            self._redraw(progress, max_steps)
        elif progress.seconds - self._last_line >= _LINE_SECONDS:
            self._last_line = progress.seconds
            print(line(progress, max_steps), file=sys.stderr, flush=True)

    def _redraw(self, progress: Progress, max_steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        if self._live is None:
            console = Console(stderr=not _in_notebook())
            self._live = Bar(BarColumn(bar_width=20), TextColumn("{task.description}"), console=console, transient=True)
            self._task = self._live.add_task("", total=1.0)
            self._live.start()
        left = progress.seconds_left
        done = progress.seconds / (progress.seconds + left) if math.isfinite(left) and left > 0 else 1.0
        self._live.update(self._task, completed=done, description=line(progress, max_steps))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def _in_notebook() -> bool:
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return False
    return Console().is_jupyter


def _redrawable() -> bool:
    """Whether rich is there and the output is a terminal or a notebook."""
    if not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        return False
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return False
    return Console(stderr=True).is_terminal or _in_notebook()
