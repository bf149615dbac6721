"""What all sections share: frozen, no unknown keys."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

_log = logging.getLogger("rectory.params")
_told: set[tuple[str, tuple[str, ...]]] = set()
"""What this process has logged already: a service loads the same model again and again."""


class Section(BaseModel):
    """One section of params.yaml; an unknown key is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def of_saved(cls, saved: dict[str, Any]) -> Self:
        """From what a model saved of its params, by whichever version of Rectory.

        Keys that this version does not know any more are passed over and logged once: the model is fitted, they can
        change nothing. What people write is read by `model_validate`, which refuses them.
        """
        made = cls.model_validate(saved, extra="ignore")
        gone = tuple(_missing(saved, made.model_dump(mode="json", by_alias=True)))
        if gone and (cls.__name__, gone) not in _told:
            _told.add((cls.__name__, gone))
            _log.warning("a saved model has params that this version does not know (%s): passed over", ", ".join(gone))
        return made


def _missing(saved: dict[str, Any], kept: dict[str, Any], within: str = "") -> Iterator[str]:
    """Dotted names of the keys in `saved` that `kept` lacks."""
    for key, value in saved.items():
        if key not in kept:
            yield f"{within}{key}"
        elif isinstance(value, dict) and isinstance(kept[key], dict):
            yield from _missing(value, kept[key], f"{within}{key}.")
