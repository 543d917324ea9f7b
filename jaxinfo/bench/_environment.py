"""Where a figure was measured: device, versions, commit."""

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxinfo._processor import processor_name


def environment(packages: Sequence[str] = (), folder: Path | None = None) -> dict[str, Any]:
    """Return the device, versions of Python, jax and `packages` (None if absent), and the commit of `folder`."""
    devices = jax.devices()
    return {
        "device": f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()})",
        "processor": processor_name(),
        "cores": len(available_cores()),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("jaxinfo", "jax", "jaxlib", "numpy", *packages)},
        "commit": _commit(folder or Path.cwd()),
    }


def device_name(environment: Mapping[str, Any]) -> str:
    """Return a name for the device that can be a file's: a CPU is told by its processor and cores."""
    count, _, kind = environment["device"].partition(" x ")
    if kind == "cpu (cpu)":
        words = f"cpu {environment['processor']} {environment['cores']} cores"
    else:
        words = f"{kind} {count if count != '1' else ''}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def available_cores() -> set[int]:
    """Return the cores this thread may use: jax takes them all, and so may its peers."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def hold_to_cores(cores: set[int]) -> None:
    """Let this thread run on `cores` only, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """Return the last commit that changed `folder`, marked where files differ from it; None outside a repository."""
    try:
        last = _git(folder, "log", "-1", "--format=%h", "--abbrev=12", "--", ".")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{last}+changes" if changed else last or None


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
