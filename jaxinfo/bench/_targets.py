"""Devices that need not be here: their topologies, from the compilers that come as packages."""

import dataclasses
import functools
import importlib
import importlib.util
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of device a compiler can be asked for.

    Attributes:
        kind: what the compiler calls it, before the shape of the topology.
        axes: of the topology.
        extra: of jaxinfo, which brings the compiler.
        packages: any one of these is the compiler.
    """

    kind: str
    axes: int
    extra: str
    packages: tuple[str, ...]


TARGETS = {
    "tpu-v5e": Target("v5e", 2, "tpu", ("libtpu",)),
    "tpu-v5p": Target("v5p", 3, "tpu", ("libtpu",)),
    "tpu-v6e": Target("v6e", 2, "tpu", ("libtpu",)),
    "cuda-h100": Target("h100.txtpb", 3, "cuda", ("jax_cuda13_plugin", "jax_cuda12_plugin")),
}


class MissingExtraError(ImportError):
    """The compiler for a device is not installed; the message names the command that installs it."""


def mesh_for(target: str, devices: int | str, axes: Mapping[str, int]) -> Mesh:
    """Return a mesh of devices that are not here, to shard a function over that `compile_for` compiles.

    Args:
        target: kind of the devices, as for `compile_for`.
        devices: how many or in which topology, as for `compile_for`.
        axes: size of each mesh axis by name; together they take all devices.

    Returns:
        The mesh; it compiles, but no array can be put on it.

    Raises:
        ValueError: no such target or topology, or the axes don't multiply to the number of devices.
        MissingExtraError: the compiler is not installed.
    """
    found = devices_for(target, devices)
    if math.prod(axes.values()) != len(found):
        raise ValueError(f"`axes` must multiply to {len(found)}, the number of `devices`, got {dict(axes)}.")
    return Mesh(np.asarray(found).reshape(*axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def devices_for(target: str, devices: int | str) -> tuple[Any, ...]:
    """Return the devices of a topology; the same objects each time, so that meshes of them are equal.

    Raises:
        ValueError: no such target or topology.
        MissingExtraError: the compiler is not installed.
    """
    if target not in TARGETS:
        raise ValueError(f"`target` must be one of {', '.join(TARGETS)}, got {target!r}.")
    wanted = TARGETS[target]
    check_installed(target)
    shape = _shape(devices, wanted.axes, cuda=wanted.extra == "cuda")
    try:
        found = _topology(target, shape)
    except jax.errors.JaxRuntimeError as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"`devices` must be a topology of {target}, got {devices!r}: {first}") from error
    return found[:1] if devices == 1 else found


def check_installed(target: str) -> None:
    """Fail unless the target's compiler is there.

    Raises:
        MissingExtraError: it is not.
    """
    wanted = TARGETS[target]
    if not any(map(importlib.util.find_spec, wanted.packages)):
        raise MissingExtraError(
            f"Compiling for {target} needs {wanted.packages[0]}, which is not installed: "
            f"pip install 'jaxinfo[{wanted.extra}]'."
        )


def _shape(devices: int | str, axes: int, *, cuda: bool) -> str:
    """Return the topology as the compiler spells it: a number of devices is laid out as squarely as it can be."""
    if isinstance(devices, str):
        sizes = devices.lower().split("x")
        if len(sizes) != axes or not all(size.isdecimal() and int(size) for size in sizes):
            example = "x".join(["4"] * axes)
            raise ValueError(f"`devices` must be a number or a topology such as {example!r}, got {devices!r}.")
        return "x".join(sizes)
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise ValueError(f"`devices` must be a positive number or a topology, got {devices!r}.")
    if cuda:
        return f"1x1x{devices}"  # slices, hosts, cards of a host
    if devices == 1:
        return "2x2" + "x1" * (axes - 2)  # the smallest there is; one of its chips is taken
    sizes = [1] * axes
    while math.prod(sizes) < devices:
        sizes[sizes.index(min(sizes))] *= 2
    if math.prod(sizes) != devices or devices < 4:
        raise ValueError(f"`devices` must be 1, a power of 2 from 4 on, or a topology, got {devices!r}.")
    return "x".join(map(str, sorted(sizes, reverse=axes == 3)))


@functools.cache
def _topology(target: str, shape: str) -> tuple[Any, ...]:
    wanted = TARGETS[target]
    # No device is opened: there is no host to ask about one, and several compilers side by side do no harm.
    if wanted.extra == "tpu":
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
        return tuple(topologies.get_topology_desc(f"{wanted.kind}:{shape}", platform="tpu").devices)
    described = Path(__file__).with_name(wanted.kind).read_text()
    options = {"target_config": described, "topology": shape}
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    try:
        return tuple(topologies.get_topology_desc(topology_name="", platform="cuda", **options).devices)
    except NotImplementedError:
        _load_cuda()
        return tuple(topologies.get_topology_desc(topology_name="", platform="cuda", **options).devices)


def _load_cuda() -> None:
    """Make CUDA's compiler known to jax, whose check at start has refused it where there is no card to be found."""
    generation = next(name for name in TARGETS["cuda-h100"].packages if importlib.util.find_spec(name))
    importlib.import_module(f"jax_plugins.xla_{generation.removeprefix('jax_').removesuffix('_plugin')}").initialize()
