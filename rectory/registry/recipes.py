"""A candidate's recipe with what a fit of it chose: all that it takes to fit it again, without a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from rectory.files import sha256_json
from rectory.params import Params, dump_params


@dataclass(frozen=True)
class Recipe:
    """What the step refit reads. told: candidate, params, what its fit chose, seed, validation_users."""

    told: dict[str, Any]

    @classmethod
    def of(cls, params: Params, candidate: str, chosen: dict[str, Any]) -> Self:
        """
        Args:
            chosen: of the fit report.
        """
        return cls(
            {
                "candidate": candidate,
                "params": dump_params(params)["train"]["candidates"][candidate],
                "chosen": chosen,
                "seed": params.train.seed,
                "validation_users": params.train.validation_users,
            }
        )

    @property
    def name(self) -> str:
        """Of its file; equal recipes share it."""
        return f"{self.told['candidate']}-{sha256_json(self.told)[:10]}"
