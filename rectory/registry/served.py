"""Which model each policy of a backtest serves with on each date, where it lies, and which models are to be scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rectory.files import read_json
from rectory.params import Params
from rectory.registry.policies import Kept, Policy, Turn
from rectory.registry.recipes import Recipe
from rectory.workspace import Backtest


@dataclass(frozen=True)
class Served:
    """A model in a date's workspace: a candidate as it was trained there, or a recipe that was fitted again.

    recipe: name of the recipe's file; None: as it was trained.
    """

    date: str
    candidate: str
    recipe: str | None = None

    @property
    def name(self) -> str:
        """Among all models of a backtest."""
        return f"{self.date}.{self.candidate}" if self.recipe is None else f"{self.date}.refit.{self.recipe}"

    @property
    def piece(self) -> str:
        """Piece of work that makes it, and name of its timing."""
        return f"train-{self.candidate}" if self.recipe is None else f"refit-{self.recipe}"

    def folder(self, backtest: Backtest) -> Path:
        workspace = backtest.date(self.date)
        return workspace.model(self.candidate) if self.recipe is None else workspace.refitted(self.recipe)


def recipe_of(seat: Kept, backtest: Backtest, params: Params) -> Recipe:
    """The seat's recipe with what its fit chose. Seats that agree in both share one, and so share its refits."""
    chosen = read_json(backtest.date(seat.version).fit_report(seat.candidate))["chosen"]
    return Recipe.of(params, seat.candidate, chosen, as_trained(seat).folder(backtest))


def served_by(policy: Policy, turns: Sequence[Turn], recipes: Mapping[str, Recipe]) -> dict[str, Served]:
    """Date -> what the policy serves with until the next one.

    Args:
        recipes: model name of a seat -> its recipe; needed for policies with refits.
    """
    if not policy.refit:
        return {turn.date: as_trained(turn.seat) for turn in turns}
    return {turn.date: Served(turn.date, turn.seat.candidate, recipes[turn.seat.model].name) for turn in turns}


def as_trained(kept: Kept) -> Served:
    return Served(kept.version, kept.candidate)


def wanted(
    turns: Mapping[str, Sequence[Turn]], served: Mapping[str, Mapping[str, Served]]
) -> dict[str, dict[str, Served]]:
    """Date -> name -> model to score on what followed: all that were served, were tried, or had served until then.

    Args:
        turns: policy -> its turns. served: policy -> date -> model.
    """
    found: dict[str, dict[str, Served]] = {}
    for policy, of_policy in turns.items():
        until_then: Served | None = None
        for turn in of_policy:
            now = served[policy][turn.date]
            kept = [as_trained(one) for one in (turn.before, turn.newest, turn.challenger) if one is not None]
            models = [now, *kept, *([] if until_then is None else [until_then])]
            found.setdefault(turn.date, {}).update({model.name: model for model in models})
            until_then = now
    return found
