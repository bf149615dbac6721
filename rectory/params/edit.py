"""Change values in params.yaml and nothing else: comments, order, spaces and all other lines stay as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rectory.errors import ParamsError
from rectory.files import replacing
from rectory.params.load import parse_params

if TYPE_CHECKING:
    from ruamel.yaml.nodes import MappingNode, Node

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NOT_A_WORD = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def set_values(path: Path, section: str, values: dict[str, Any]) -> None:
    """Atomically set keys of one section of params.yaml.

    The values' own characters are replaced in the text: a writer of YAML, ruamel's too, would lay out lists, nulls and
    comments anew.

    Args:
        section: dotted place of the section, e.g. "train.candidates.lightfm_hybrid"; it must be there.
        values: key -> plain value; a key that is not in the section yet is added at its end.
    Raises:
        ParamsError: the section is missing, the result would not be valid, or another value would change.
    """
    from ruamel.yaml import YAML

    text = path.read_text(encoding="utf-8")
    place = _section(YAML(typ="safe", pure=True).compose(text), section, path)
    edits = sorted((_edit(text, place, key, value) for key, value in values.items()), reverse=True)
    written = text
    for start, end, new in edits:
        written = written[:start] + new + written[end:]
    _only_these_changed(text, written, section, values, path)
    with replacing(path) as scratch:
        scratch.write_text(written, encoding="utf-8")


def _section(root: Node, section: str, path: Path) -> MappingNode:
    from ruamel.yaml.nodes import MappingNode

    node = root
    for name in section.split("."):
        found = [value for key, value in node.value if key.value == name] if isinstance(node, MappingNode) else []
        if not found:
            raise ParamsError(f"{path} has no section {section}: write it there first.")
        node = found[0]
    if not isinstance(node, MappingNode) or not node.value:
        raise ParamsError(f"{section} in {path} is a value, not a section.")
    return node


def _edit(text: str, section: MappingNode, key: str, value: Any) -> tuple[int, int, str]:
    """Start and end of the characters to replace, and what comes there."""
    for name, node in section.value:
        if name.value == key:
            start = node.start_mark.index
            if not text[start:].strip() or node.start_mark.line > name.start_mark.line:
                # A list below its key, or nothing at all: write behind the colon.
                start = text.index(":", name.end_mark.index) + 1
                return start, max(start, _end(node)), " " + as_yaml(value)
            return start, _end(node), as_yaml(value)
    first, last = section.value[0][0], section.value[-1][1]
    if section.flow_style:
        return _end(last), _end(last), f", {key}: {as_yaml(value)}"
    line = text.find("\n", _end(last))
    at = len(text) if line < 0 else line
    return at, at, f"\n{' ' * first.start_mark.column}{key}: {as_yaml(value)}"


def _end(node: Node) -> int:
    """Where the last character of a value stands: a block ends with its last part, not before what comes next."""
    if getattr(node, "flow_style", None) is False and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def as_yaml(value: Any) -> str:
    """A plain value on one line, as YAML 1.1 and 1.2 both read it."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_yaml(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _NOT_A_WORD else json.dumps(value)
    text = json.dumps(value)
    # 1e-05 is a word to YAML 1.1, 1.0e-05 is a number.
    return re.sub(r"^(-?\d+)e", r"\1.0e", text) if isinstance(value, float) else text


def _only_these_changed(before: str, after: str, section: str, values: dict[str, Any], path: Path) -> None:
    """Read both texts back: an edit that is wrong (an anchor, say) must not reach the file."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    wanted = target = YAML(typ="safe").load(before)
    try:
        found = YAML(typ="safe").load(after)
    except YAMLError:
        found = None
    for key in section.split("."):
        target = target[key]
    target.update(values)
    if wanted != found:
        raise ParamsError(f"{path} cannot be edited without changing other values: set {values} in {section} by hand.")
    parse_params(found, str(path))
