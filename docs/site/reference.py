"""References of the commands and settings, from the command line's own options and the settings' own docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from frostline.dashboards.cli import app
from frostline.objectives.config import EFFECTS, HeadConfig, TrialConfig
from frostline.search.study import Request
from frostline.search.study.study_file import option_of

_ENTRY = re.compile(r"^    (\w+): (.+?)(?=^    \w+: |\Z)", re.MULTILINE | re.DOTALL)


def commands() -> str:
    """Return all commands with their arguments and options."""
    group = typer.main.get_group(app)
    return "\n".join(_command(name, command) for name, command in sorted(group.commands.items()))


def _command(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=f"frostline {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    rows = "\n".join(_parameter(each, context) for each in command.params if each.name != "help")
    table = f"\n| | |\n|---|---|\n{rows}\n" if rows else ""
    return f"## frostline {name}\n\n```text\nfrostline {name} {usage}\n```\n\n{command.help}\n{table}"


def _parameter(parameter: Any, context: typer.Context) -> str:
    record = parameter.get_help_record(context)
    if record is None:
        return f"| `{parameter.human_readable_name}` | {_cell(getattr(parameter, 'help', '') or '')} |"
    return f"| `{_cell(record[0])}` | {_cell(record[1])} |"


def settings() -> str:
    """Return the settings of a study, and the parameters of a trial."""
    hints = typing.get_type_hints(Request, localns={"StudyFile": object})
    described = describe(Request)
    rows = [
        f"| `{field.name}` | {_option(field.name)} | `{_type(hints[field.name])}` | {_default(field.default)} "
        f"| {_cell(described[field.name])} |"
        for field in dataclasses.fields(Request)
        if field.name != "file"
    ]
    study = "\n".join(["| setting | option | type | default | |", "|---|---|---|---|---|", *rows])
    return f"## Of a study\n\n{study}\n\n## Of a trial\n\n{_parameters()}"


def _parameters() -> str:
    rows = ["| parameter | values | default | |", "|---|---|---|---|"]
    for name in EFFECTS:
        model: type[BaseModel] = HeadConfig if name.startswith("head.") else TrialConfig
        field = model.model_fields[own := name.removeprefix("head.")]
        limits = ", ".join(str(each) for each in field.metadata if not hasattr(each, "strategies"))
        kind = _type(field.annotation) + (f"; {limits}" if limits else "")
        default = "" if field.default is PydanticUndefined else f"`{field.default!r}`"
        rows.append(f"| `{name}` | {_cell(kind)} | {default} | {_cell(describe(model)[own])} |")
    return "\n".join(rows)


def describe(owner: type) -> dict[str, str]:
    """Return the descriptions in the section ``Attributes`` of a class's docstring, by name."""
    text = inspect.cleandoc(owner.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    return {name: " ".join(said.split()) for name, said in _ENTRY.findall(text)}


def _option(field: str) -> str:
    search: Any = typer.main.get_group(app).commands["search"]
    found = [each.opts[0] for each in search.params if each.name == field and each.param_type_name == "option"]
    if found:
        return f"`{found[0]}`"
    return f"`{field}` in a study file" if option_of(field) == field and field == "data" else ""


def _type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(map(repr, typing.get_args(hint)))
    return getattr(hint, "__name__", None) or re.sub(r"\b(?:typing|collections\.abc|pathlib)\.", "", str(hint))


def _default(value: Any) -> str:
    return "required" if value is dataclasses.MISSING else f"`{value!r}`"


def _cell(text: str) -> str:
    """Return text for a cell of a table, in which roles of Sphinx are plain names."""
    plain = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    return " ".join(plain.split()).replace("|", "\\|").replace("<", "&lt;")
