"""One params class for each kind of candidate. `kind` chooses the class, the class documents the keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rectory.params.base import Section

HalfLife = Annotated[float, Field(gt=0, le=36500)]


class Candidate(Section):
    """Keys that every candidate has."""

    baseline: bool = False
    """A challenger must beat every baseline before it is promoted."""


class PopularityParams(Candidate):
    """The items with the most (weighted) interactions, the same list for everyone."""

    kind: Literal["popularity"]
    windows_days: tuple[Annotated[float, Field(gt=0)] | None, ...] = (None,)
    """Windows to try, in days before the end of training; null is all time. The best on validation is kept."""
    half_lives_days: tuple[HalfLife | None, ...] = (None,)
    """Half-lives to try: an interaction this old counts half; null counts all alike."""


class PersonalFrequencyParams(Candidate):
    """What this user takes most often, recent interactions first; filled up with popular items."""

    kind: Literal["personal_frequency"]
    half_lives_days: tuple[HalfLife | None, ...] = (None, 30.0, 60.0, 120.0)
    """Half-lives to try for the user's own interactions; the best on validation is kept."""
    popularity_window_days: Annotated[float, Field(gt=0)] | None = 28.0
    """Window of the popular items that fill lists up; null is all time."""


class LightFMHybridParams(Candidate):
    """LightFM on identities, declared features and a feature that all share, weighted by recency."""

    kind: Literal["lightfm_hybrid"]
    components: Annotated[int, Field(ge=4, le=512)] = 48
    """Length of each embedding. Cost and memory grow linearly with it."""
    loss: Literal["warp", "bpr", "logistic"] = "warp"
    """Ranking losses (warp, bpr) sample negatives; logistic takes all weights as positives."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Initial step of Adagrad."""
    max_epochs: Annotated[int, Field(ge=1, le=500)] = 30
    """Upper limit; early stopping on the validation window usually ends sooner."""
    patience: Annotated[int, Field(ge=1, le=50)] = 3
    """Epochs without a better validation score before a fit is stopped."""
    half_lives_days: tuple[HalfLife | None, ...] = (7.0, 14.0, 30.0, 90.0, None)
    """Recency half-lives to try; the best on validation is kept. null weighs all interactions alike."""
    item_alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    """L2 penalty on item features."""
    user_alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    """L2 penalty on user features."""
    use_user_features: bool = True
    """Add the card's user features to user identities."""
    use_item_features: bool = True
    """Add the card's item features to item identities."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """More than one is faster and not reproducible to the bit; the version is then tagged reproducible=false."""


CandidateParams = Annotated[
    PopularityParams | PersonalFrequencyParams | LightFMHybridParams,
    Field(discriminator="kind"),
]
