"""The command line, one file a command: `jaxinfo fit`, `jaxinfo verify`, `jaxinfo bench`.

What the user can get wrong ends in one sentence on stderr and exit code 2. typer and rich are an extra,
so they are imported when a command runs, and the lack of them is such a sentence too.
"""

from jaxinfo.cli._app import main as main
