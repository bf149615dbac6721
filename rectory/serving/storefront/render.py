"""Templates of the pages; everything that is put into them is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["percent"] = lambda share: f"{100 * share:.1f}%"
    made.filters["path"] = _as_path
    made.filters["words"] = in_words
    return made


def in_words(value: Any) -> str:
    """A feature's value as people write it: 1996.0 is 1996."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return ", ".join(map(in_words, value)) if isinstance(value, list | tuple | set) else str(value)


def _as_path(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def render(template: str, **facts: Any) -> str:
    """A page with the style sheet in it: nothing is fetched from anywhere."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    return _environment().get_template(template).render(style=style, **facts)
