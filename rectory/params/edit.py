"""Change values in params.yaml and nothing else: comments, order and all other lines stay."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rectory.errors import ParamsError
from rectory.files import replacing
from rectory.params.load import parse_params


def set_values(path: Path, section: str, values: dict[str, Any]) -> None:
    """Atomically set keys of one section of params.yaml.

    Args:
        section: dotted place of the section, e.g. "train.candidates.lightfm_hybrid"; it must be there.
        values: key -> plain value; a key that is not in the section yet is added at its end.
    Raises:
        ParamsError: the section is missing, the result would not be valid, or another value would change.
    """
    from ruamel.yaml import YAML

    text = path.read_text(encoding="utf-8")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 100_000  # Never wrap a line that somebody wrote long.
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    tree = yaml.load(text)
    target = tree
    for key in section.split("."):
        if not isinstance(target, dict) or key not in target:
            raise ParamsError(f"{path} has no section {section}: write it there first.")
        target = target[key]
    for key, value in values.items():
        target[key] = _in_style(target.get(key), value)
    out = io.StringIO()
    yaml.dump(tree, out)
    written = out.getvalue()
    _only_these_changed(text, written, section, values, path)
    with replacing(path) as scratch:
        scratch.write_text(written, encoding="utf-8")


def _in_style(old: Any, value: Any) -> Any:
    """Lists on one line, unless they stood on several."""
    from ruamel.yaml.comments import CommentedSeq

    if not isinstance(value, list):
        return value
    written = CommentedSeq(value)
    if not isinstance(old, CommentedSeq) or old.fa.flow_style() is not False:
        written.fa.set_flow_style()
    return written


def _only_these_changed(before: str, after: str, section: str, values: dict[str, Any], path: Path) -> None:
    """Read both texts back: a writer that is wrong must not reach the file."""
    from ruamel.yaml import YAML

    wanted, found = YAML(typ="safe").load(before), YAML(typ="safe").load(after)
    target = wanted
    for key in section.split("."):
        target = target[key]
    target.update(values)
    if wanted != found:
        raise ParamsError(f"{path} cannot be edited without changing other values: set {values} in {section} by hand.")
    parse_params(found, str(path))
