"""What `jaxinfo --version` prints, also where jax finds no device: that is when somebody asks."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import jax

from jaxinfo._version import __version__


def versions() -> str:
    """Return the versions of jaxinfo and of what it stands on, the backend and its devices."""
    packages = [f"jaxinfo {__version__}", f"Python {platform.python_version()}"]
    packages += [f"{name} {_version(name)}" for name in ("jax", "jaxlib", "optax", "numpy")]
    fault = no_device()
    if fault:
        return "\n".join([*packages, f"backend none: {fault}", "devices 0"])
    devices = ", ".join(device.device_kind for device in jax.devices())
    return "\n".join([*packages, f"backend {jax.default_backend()}", f"devices {len(jax.devices())}: {devices}"])


def no_device() -> str:
    """Say in one sentence that jax cannot use any device; nothing where it can."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where a platform is asked for that has no plugin
        asked = os.environ.get("JAX_PLATFORMS")
        said = str(error).strip().split("\n")[0].rstrip(".")
        return "jax finds no device" + (f" for JAX_PLATFORMS={asked}" if asked else "") + (f": {said}" if said else "")
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
