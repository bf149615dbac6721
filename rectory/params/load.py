"""From params.yaml to typed, frozen sections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rectory.errors import ParamsError
from rectory.params.sections import Params


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read params.yaml and apply `section.key=value` overrides (values are YAML).

    Raises:
        ParamsError: the file is missing, is not YAML, or a key is unknown or out of range; names each key.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML(typ="safe")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{path} is missing: run the command in the project's folder, or name one by --project."
        ) from None
    except YAMLError as error:
        raise ParamsError(f"{path} is not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ParamsError(f"{path} must be a mapping of sections, found {type(tree).__name__}.")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise ParamsError(f"override {override!r}: write it as section.key=value, e.g. split.test_days=28.")
        try:
            _set(tree, key.split("."), yaml.load(value))
        except YAMLError as error:
            raise ParamsError(f"override {override!r}: the value is not YAML ({error}).") from error
    return parse_params(tree, str(path))


def parse_params(tree: Any, where: str) -> Params:
    """Validate a tree of plain values.

    Raises:
        ParamsError: names each offending key with what is wrong.
    """
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(f"{where}: {describe(error)}") from error


def dump_params(params: Params) -> dict[str, Any]:
    """Plain JSON-able values; `parse_params(dump_params(p)) == p`."""
    return params.model_dump(mode="json", by_alias=True)


def describe(error: ValidationError) -> str:
    """All faults in one paragraph: `train.candidates.x.components: Input should be ... (found 2)`."""
    faults = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        found = "" if isinstance(fault["input"], dict) else f" (found {fault['input']!r})"
        faults.append(f"{key or 'file'}: {fault['msg']}{found}")
    return "; ".join(faults)


def _set(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        child = tree.setdefault(key, {})
        if not isinstance(child, dict):
            raise ParamsError(f"override {'.'.join(keys)}: {key!r} is a value, not a section.")
        tree = child
    tree[keys[-1]] = value
