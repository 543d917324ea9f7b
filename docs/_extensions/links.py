"""Links that lead out of this folder: right where the Markdown is read in the repository, made right for the site."""

from sphinx.application import Sphinx

_MOVED = {
    "](../notebooks/": "](notebooks/",
    "](../benchmarks/README.md": "](benchmarks.md",
    "](docs/": "](",
    "](benchmarks/README.md": "](benchmarks.md",
}


def _read(app: Sphinx, name: str, content: list[str]) -> None:
    for here, there in _MOVED.items():
        content[0] = content[0].replace(here, there)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the replacement."""
    app.connect("source-read", _read)
    app.connect("include-read", lambda app, path, name, content: _read(app, name, content))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
