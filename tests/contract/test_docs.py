"""Docs name what there is, and generated pages are up to date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from cli.main import app
from docs import generate
from rectory.params import dump_params, load_params

ROOT = Path(__file__).parents[2]
DOCS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(command: Any, path: str) -> list[str]:
    """By its commands, not by its class: typer may bring a click of its own."""
    if subs := getattr(command, "commands", None):
        return [name for child, sub in subs.items() for name in commands(sub, f"{path} {child}")]
    return [path]


@pytest.mark.parametrize("page", ["params", "cli"])
def test_generated_pages_are_up_to_date(page: str) -> None:
    made = getattr(generate, f"{page}_page")()
    assert (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") == made, "run: python -m docs.generate"


@pytest.mark.parametrize("command", commands(typer.main.get_command(app), "rectory"))
def test_every_command_is_in_the_guides(command: str) -> None:
    guides = README + "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "cli.md"
    )
    assert command in guides


def test_the_commands_are_found() -> None:
    assert {"rectory run", "rectory data list", "rectory tune"} <= set(commands(typer.main.get_command(app), "rectory"))


def test_every_step_is_in_the_map() -> None:
    page = (ROOT / "docs" / "how-a-run-flows.md").read_text(encoding="utf-8")
    for step in sorted(path.stem for path in (ROOT / "tasks").glob("[!_]*.py")):
        assert f"| {step} |" in page


def test_params_yaml_names_every_key_and_only_defaults_that_hold() -> None:
    """params.yaml is read by people: a key that only the class knows would be invisible to them."""
    written = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    known = dump_params(load_params(ROOT / "params.yaml"))
    for section, keys in known.items():
        if isinstance(keys, dict) and section != "train":
            assert set(keys) == set(written[section]), section


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http:", "https:", "mailto:")):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_page_is_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        assert page.relative_to(ROOT / "docs").as_posix() in nav
