"""Kill a fit at random moments and resume it, many times over: do its bits come out the same each time?

python benchmarks/_fit_kill.py [--kills 20] [--json FILE]
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from harness import environment

from tests.fitting.test_checkpoint import kill_somewhere, start


def main() -> None:
    """Kill, resume to the end, compare with a fit that was left alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    moments = random.Random()
    with tempfile.TemporaryDirectory() as folder:
        alone = start(Path(folder) / "alone").communicate()[0].split()[-1]
        kills, endings, run = [], [], 0
        while len(kills) < options.kills:
            saved = Path(folder) / f"fit{run}"
            for _ in range(min(4, options.kills - len(kills))):  # a fit has room for a few kills before it ends
                kills.append(kill_somewhere(saved, moments))
                print(f"kill {len(kills)}: {kills[-1]}", flush=True)
            endings.append(start(saved).communicate()[0].split()[-1])
            run += 1
    same = sum(ending == alone for ending in endings)
    print(f"{len(kills)} kills of {len(endings)} fits: {same} of {len(endings)} ended with the bits of one left alone.")
    if options.json:
        document = {"environment": environment(("optax", "orbax-checkpoint")), "kills": kills}
        options.json.write_text(json.dumps(document | {"fits": len(endings), "same_bits": same}, indent=1) + "\n")


if __name__ == "__main__":
    main()
