"""What this machine's processor is called, and what it is made for."""

import platform
from functools import cache
from pathlib import Path


def processor_name() -> str:
    """Return its name, and whether it has tiles of bfloat16: machines under one name differ in that."""
    return (_line("model name") or platform.processor() or platform.machine()) + ", AMX" * has_bfloat16_tiles()


def has_bfloat16_tiles() -> bool:
    """Return whether it multiplies tiles of bfloat16 as such (AMX), several times as fast as float32."""
    return "amx_bf16" in _line("flags").split()


@cache
def multiplies_bfloat16() -> bool:
    """Return whether matrices of bfloat16 are multiplied faster than those of float32.

    AMX does, and AMD's AVX-512 (Zen 4: 390 GFLOP/s where float32 has 205). Intel's AVX-512 has such an instruction
    too, at half the rate, and gains nothing.
    """
    return has_bfloat16_tiles() or ("AMD" in _line("vendor_id") and "avx512_bf16" in _line("flags").split())


def _line(name: str) -> str:
    """Return what Linux says of the first core under a name, "" where it says nothing."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")
