"""Write the README's figures of time and memory from the rows of the benchmark pages that they name.

    python benchmarks/readme_figures.py

`tests/test_readme.py` fails while the README says something else than the pages.
"""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: benchmarks/readme_figures.py -->\n", "<!-- end of figures -->\n"
LOSSES, LINEAR = "benchmarks/README.md", "docs/linear_benchmarks.md"


def rows(page: str) -> Iterator[dict[str, str]]:
    """Yield the rows of all tables of a page, each by the names of its columns."""
    header: list[str] = []
    for line in (ROOT / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            header = []
        elif not header:
            header = cells
        elif not cells[0].startswith("--"):
            yield dict(zip(header, cells, strict=False))


def loss(name: str) -> tuple[str, str]:
    """Return the time of a loss relative to optax, and the row it comes from."""
    found = next(r for r in rows(LOSSES) if r.get("row") == name and "of optax" in r)
    return found["of optax"].split()[0], f"`{name}`"


def linear(size: str, dtype: str) -> tuple[str, str, str, str]:
    """Return temporaries of ours and of dense optax, our time relative to it, and the row they come from."""
    tables = [r for r in rows(LINEAR) if r.get("N x D x V") == size and r.get("dtype") == dtype]
    ours, dense = (next(r for r in tables if r[""] == name) for name in ("jaxinfo, reduced", "optax, dense"))
    memory, time = "temporaries MiB", ours["to optax, dense"].split()[0]
    return ours[memory], dense[memory], time, f"`{size} {dtype}`"


def render() -> str:
    """Return the figures as the README has them."""
    few, few_row = loss("softmax_cross_entropy 4096x1000 float32 trained forward+backward")
    many, many_row = loss("softmax_cross_entropy 1024x32768 float32 trained forward+backward")
    kl, kl_row = loss("kl_divergence 4096x1000 float32 trained forward+backward")
    close, close_row = loss("kl_divergence 1024x32768 float32 close forward+backward")
    ours, dense, time, small_row = linear("2048 x 512 x 32000", "float32")
    ours_wide, dense_wide, time_wide, wide_row = linear("2048 x 512 x 64000", "float32")
    return f"""\
On two CPU cores, value and gradient, time relative to optax:

| | time | temporaries, MiB | row |
|---|---|---|---|
| cross-entropy, confident, few classes | {few} | | {few_row} |
| the same, many classes | {many} | | {many_row} |
| KL divergence, confident | {kl} | | {kl_row} |
| KL divergence of neighbours | {close} | | {close_row} |
| mean loss of a large vocabulary | {time} | {ours} instead of {dense} | {small_row} |
| the same, larger | {time_wide} | {ours_wide} instead of {dense_wide} | {wide_row} |

Rows of [{LOSSES}]({LOSSES}) and of
[{LINEAR}]({LINEAR}), which have the misses too.
"""


def written(text: str) -> str:
    """Return the README's text with the figures of today."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + render() + END + rest.partition(END)[2]


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
