"""How the site is built: `make docs`, without a network, every warning an error."""

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]

import jaxinfo  # noqa: E402

project = "jaxinfo"
author = "The jaxinfo authors"
copyright = author
version = release = jaxinfo.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "command_line",
    "docstrings",
    "links",
    "mathml",
]
exclude_patterns = ["_build", "_extensions"]
html_math_renderer = "mathml"

# The notebooks live beside this folder, executed; Sphinx reads no other folder than its own.
shutil.copytree(
    HERE.parent / "notebooks", HERE / "notebooks", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py")
)
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["attrs_block", "dollarmath"]
myst_heading_anchors = 3

napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Gradient", "Accuracy"]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

nitpicky = True
# Types of other packages: there is no inventory of them without a network. Shapes in annotations are no names, and
# types of private modules no pages.
nitpick_ignore_regex = [
    ("py:.*", r"(jax|jaxlib|jaxtyping|numpy|np|optax|chex|typing|collections|pathlib|enum|dataclasses|matplotlib)\b.*"),
    ("py:.*", r"(jax\.)?(Array|ArrayLike|Float|Integer|Bool|Shaped|Any|Callable|PyTree|Path|Figure|optional)"),
    ("py:class", r"jaxinfo(\.\w+)*\._.*"),
]

html_theme = "pydata_sphinx_theme"
html_title = f"jaxinfo {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "examples": []}
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    # none beside the wide tables
    "secondary_sidebar_items": {
        pattern: ["page-toc"]
        for pattern in ("api/*", "notebooks/*", "contract", "accuracy", "examples", "fit", "linear", "verify")
    },
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
}
