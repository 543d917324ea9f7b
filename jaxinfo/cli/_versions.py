"""What `jaxinfo --version` prints."""

import platform
from importlib.metadata import PackageNotFoundError, version

import jax

from jaxinfo._version import __version__


def versions() -> str:
    """Return the versions of jaxinfo and of what it stands on, the backend and its devices."""
    packages = [f"jaxinfo {__version__}", f"Python {platform.python_version()}"]
    packages += [f"{name} {_version(name)}" for name in ("jax", "jaxlib", "optax", "numpy")]
    devices = ", ".join(device.device_kind for device in jax.devices())
    return "\n".join([*packages, f"backend {jax.default_backend()}", f"devices {len(jax.devices())}: {devices}"])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
