"""Writes docs/params.md and docs/cli.md from the code: `python -m docs.generate`. A test holds them up to date."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from rectory.params import Params, sections
from rectory.params.base import Section
from rectory.params.candidates import CandidateParams

DOCS = Path(__file__).parent


def params_page() -> str:
    """All sections and all kinds of candidates, key by key."""
    out = [
        "# Parameters",
        "",
        "Every key of `params.yaml`, made from the classes in `rectory/params/`. Override one for a single run with "
        "`rectory run --set split.test_days=28`, or for an experiment with `dvc exp run -S split.test_days=28`.",
        "",
    ]
    top = [(name, field) for name, field in Params.model_fields.items() if not _is_section(field.annotation)]
    out += ["## top level", "", *_table(top)]
    for name, field in Params.model_fields.items():
        if _is_section(field.annotation):
            section = typing.cast("type[Section]", field.annotation)
            out += [
                f"## {field.alias or name}",
                "",
                _first_paragraph(section),
                "",
                *_table(section.model_fields.items()),
            ]
    out += ["## train.candidates", "", "Name -> candidate; `kind` chooses what it is.", ""]
    for kind in _kinds(CandidateParams):
        label = typing.get_args(kind.model_fields["kind"].annotation)[0]
        out += [f"### kind: {label}", "", _first_paragraph(kind), "", *_table(kind.model_fields.items())]
    return "\n".join(out).rstrip() + "\n"


def cli_page() -> str:
    """Every command with its help, as `--help` prints it."""
    import typer

    from cli.main import app

    out = [
        "# Commands",
        "",
        "Made from the commands' own help. Exit codes: 0 done, 1 failed, 2 wrong use, 3 data refused,",
    ]
    out += ["4 gate refused (only with `--require-promotion`).", ""]

    def walk(command: Any, path: str) -> None:
        # By its commands, not by its class: typer may bring a click of its own.
        if commands := getattr(command, "commands", None):
            for name, child in commands.items():
                walk(child, f"{path} {name}")
            return
        out.extend([f"## {path}", "", (command.help or "").strip(), ""])
        for param in command.params:
            if param.name == "help":
                continue
            if param.param_type_name == "option":
                label = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
            else:
                label = f"`{(param.name or '').upper()}`"
            out.append(f"- {label}: {getattr(param, 'help', None) or ''}".rstrip(": "))
        out.append("")

    walk(typer.main.get_command(app), "rectory")
    return "\n".join(out).rstrip() + "\n"


def _kinds(annotation: Any) -> list[type[Section]]:
    """Classes of a union of candidates, unions within it included."""
    if isinstance(annotation, type):
        return [annotation]
    parts = typing.get_args(annotation)
    parts = parts[:1] if typing.get_origin(annotation) is typing.Annotated else parts
    return [kind for part in parts for kind in _kinds(part)]


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, sections.Section)


def _first_paragraph(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").split())


def _table(fields: typing.Iterable[tuple[str, FieldInfo]]) -> list[str]:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in fields:
        default = "required" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{field.alias or name}` | {_type(field)} | {default} | {meaning} |")
    return [*rows, ""]


def _plain(value: Any) -> str:
    """A value as params.yaml would have it."""
    if isinstance(value, Section):
        value = value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_plain(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(part)}" for key, part in value.items()) + "}"
    if isinstance(value, bool):  # 1.0 equals True and is no boolean.
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _type(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if hasattr(limit, name)
    ]
    text = _name(field.annotation).replace("|", "\\|")
    return f"{text} {', '.join(limits)}".strip()


def _name(annotation: Any) -> str:  # noqa: PLR0911 - a table of cases reads best as one
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is typing.Annotated:
        return _name(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(_name(part) for part in arguments))
    if origin is tuple:
        return f"list of {_name(arguments[0])}"
    if origin is dict:
        return "mapping"
    return str(getattr(annotation, "__name__", annotation))


def main() -> None:
    """Write both pages."""
    (DOCS / "params.md").write_text(params_page(), encoding="utf-8")
    (DOCS / "cli.md").write_text(cli_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
