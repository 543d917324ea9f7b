"""The directive `command-line`: the commands of `jaxinfo` with their arguments and options, as typer knows them."""

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from jaxinfo.cli import _app


def _row(*cells: str) -> nodes.row:
    row = nodes.row()
    for i, cell in enumerate(cells):
        text = nodes.literal(text=cell) if i == 0 else nodes.Text(cell)
        row += nodes.entry("", nodes.paragraph("", "", text))
    return row


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    return ", ".join([*parameter.opts, *parameter.secondary_opts])


def _default(parameter: Any) -> str:
    value = parameter.default
    return "" if value is None or value is False or callable(value) or "Sentinel" in repr(value) else str(value)


def _table(parameters: list[Any]) -> nodes.table:
    group = nodes.tgroup(cols=3)
    group += [nodes.colspec(colwidth=width) for width in (25, 60, 15)]
    head, body = nodes.thead(), nodes.tbody()
    head += nodes.row("", *(nodes.entry("", nodes.paragraph(text=t)) for t in ("option", "meaning", "unless told")))
    body += [_row(_spelled(p), p.help or "", _default(p)) for p in parameters]
    group += [head, body]
    return nodes.table("", group)


class CommandLine(Directive):
    """A section for each command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        import typer

        command = typer.main.get_command(_app._app())
        sections: list[nodes.Node] = []
        for name, sub in sorted(command.commands.items()):  # pyright: ignore[reportAttributeAccessIssue]
            title = f"jaxinfo {name}"
            section = nodes.section(ids=[nodes.make_id(title)], names=[title])
            section += [nodes.title(text=title), nodes.paragraph(text=sub.help or ""), _table(sub.params)]
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
