"""What this machine's processor is called, and what it is made for."""

import platform
from functools import cache
from pathlib import Path


def processor_name() -> str:
    """Return its name, and whether it has tiles of bfloat16: machines under one name differ in that."""
    return (_line("model name") or platform.processor() or platform.machine()) + ", AMX" * has_bfloat16_tiles()


@cache
def has_bfloat16_tiles() -> bool:
    """Return whether it multiplies matrices of bfloat16 as such (AMX), several times as fast as float32."""
    return "amx_bf16" in _line("flags").split()


def _line(name: str) -> str:
    """Return what Linux says of the first core under a name, "" where it says nothing."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")
