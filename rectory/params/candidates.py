"""One params class for each kind of candidate. `kind` chooses the class, the class documents the keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from rectory.params.base import Section

HalfLife = Annotated[float, Field(gt=0, le=36500)]
Value = TypeVar("Value")
Tries = Annotated[tuple[Value, ...], Field(min_length=1)]
"""Values that a fit tries on the validation window, the first one first."""


class Candidate(Section):
    """Keys that every candidate has."""

    baseline: bool = False
    """A challenger must beat every baseline before it is promoted."""


class PopularityParams(Candidate):
    """The items with the most (weighted) interactions, the same list for everyone."""

    kind: Literal["popularity"]
    windows_days: Tries[Annotated[float, Field(gt=0)] | None] = (None,)
    """Windows to try, in days before the end of training; null is all time. The best on validation is kept."""
    half_lives_days: Tries[HalfLife | None] = (None,)
    """Half-lives to try: an interaction this old counts half; null counts all alike."""


class PersonalFrequencyParams(Candidate):
    """What this user takes most often, recent interactions first; filled up with popular items."""

    kind: Literal["personal_frequency"]
    half_lives_days: Tries[HalfLife | None] = (None, 30.0, 60.0, 120.0)
    """Half-lives to try for the user's own interactions; the best on validation is kept."""
    popularity_window_days: Annotated[float, Field(gt=0)] | None = 28.0
    """Window of the popular items that fill lists up; null is all time."""


class FilledUp(Candidate):
    """Keys of models whose scores stand above what is popular."""

    popularity_windows_days: Tries[Annotated[float, Field(gt=0)] | None] = (28.0, 3.0, 7.0, 14.0, 56.0)
    """Windows to try for the popular items that fill lists up and answer unknown users; null is all time."""
    popularity_weights: Tries[Annotated[float, Field(gt=0, le=100)]] = (0.01, 0.1, 0.3, 1.0, 3.0)
    """Weights of popularity in a score to try; the smallest only fills up and breaks ties."""

    def fill_grid(self) -> dict[str, tuple[Any, ...]]:
        """The part of the grid that these keys make."""
        return {"popularity_weight": self.popularity_weights, "popularity_window_days": self.popularity_windows_days}


class LikenessParams(FilledUp):
    """Keys of models that read a user's history by what is like it."""

    kind: str
    half_lives_days: Tries[HalfLife | None] = (None, 60.0, 14.0)
    """Half-lives to try of a history when it is read; null counts all alike."""
    step_decays: Tries[Annotated[float, Field(gt=0, le=1)]] = (1.0, 0.9)
    """Weights to try of a step back in a history: what counts an interaction less for each later moment."""
    self_weights: Tries[Annotated[float, Field(ge=0, le=1000)]] = (10.0, 1.0, 100)
    """Weights to try of what is most alike, itself, where the card allows repeats; 1 is the next most alike."""
    popularity_weights: Tries[Annotated[float, Field(gt=0, le=100)]] = (
        0.1,
        0.01,
        0.3,
        1.0,
        3.0,
        10.0,
    )
    """Weights of popularity in a score to try; the smallest only fills up and breaks ties."""

    def grid(self, repeats: bool) -> dict[str, tuple[Any, ...]]:
        """What validation chooses from: name of the chosen value -> values to try, in the order of trying."""
        return {
            "self_weight": self.self_weights if repeats else (0.0,),
            **self.likeness_grid(),
            "half_life_days": self.half_lives_days,
            "step_decay": self.step_decays,
            **self.fill_grid(),
        }

    def likeness_grid(self) -> dict[str, tuple[Any, ...]]:
        """The part of the grid that is the kind's own."""
        return {}


class ItemKnnParams(LikenessParams):
    """Items like those that the user took, by who else took them."""

    kind: Literal["item_knn"]
    weightings: Annotated[tuple[Literal["cosine", "bm25", "tfidf"], ...], Field(min_length=1)] = (
        "cosine",
        "bm25",
        "tfidf",
    )
    """Kinds of likeness to try; the best on validation is kept."""
    neighbours: Annotated[tuple[Annotated[int, Field(ge=1, le=5000)], ...], Field(min_length=1)] = (100, 20)
    """Numbers of neighbours that each item keeps, to try."""
    min_users: Annotated[int, Field(ge=1)] = 2
    """Items that fewer users took have no neighbours."""

    def likeness_grid(self) -> dict[str, tuple[Any, ...]]:
        return {"weighting": self.weightings, "neighbours": self.neighbours}


class UserKnnParams(LikenessParams):
    """What the people most like this user took."""

    kind: Literal["user_knn"]
    likenesses: Annotated[tuple[Literal["cosine", "pearson"], ...], Field(min_length=1)] = ("cosine", "pearson")
    """Kinds of likeness to try; the best on validation is kept."""
    neighbours: Annotated[tuple[Annotated[int, Field(ge=1, le=5000)], ...], Field(min_length=1)] = (100, 300)
    """Numbers of most alike users that are asked, to try."""
    max_users: Annotated[int, Field(ge=10)] = 20000
    """Users that may be neighbours of others, those active last."""

    def likeness_grid(self) -> dict[str, tuple[Any, ...]]:
        return {"likeness": self.likenesses, "neighbours": self.neighbours}


class EaseParams(LikenessParams):
    """A linear model from all of a history to each item, in closed form."""

    kind: Literal["ease"]
    l2: Tries[Annotated[float, Field(gt=0, le=10000)]] = (3.0, 0.3, 1.0, 10.0)
    """Ridge terms to try, in units of the mean number of users of an item; the best on validation is kept."""
    max_items: Annotated[int, Field(ge=10, le=50000)] = 6000
    """Most taken items that are solved for; time grows with its cube, memory (16 bytes each) with its square."""
    links: Annotated[int, Field(ge=1, le=50000)] = 200
    """Weights kept into each item, the strongest."""

    def likeness_grid(self) -> dict[str, tuple[Any, ...]]:
        return {"l2": self.l2}


class TransitionsParams(FilledUp):
    """What is taken next: counts from an item to those taken after it, weighted by time."""

    kind: Literal["transitions"]
    lags: Annotated[int, Field(ge=1, le=50)] = 5
    """Steps ahead that are counted, the n-th at 1/n. A step is from one moment of a user to the next."""
    neighbours: Annotated[int, Field(ge=1, le=5000)] = 50
    """Items kept that follow each item."""
    recent: Annotated[int, Field(ge=1, le=10000)] = 200
    """Items of a user's history that are looked at, the last ones."""
    basket_seconds: Annotated[float, Field(ge=0)] = 0.0
    """An event at most this long after the user's last one belongs to the same basket, which has no order."""
    largest_basket: Annotated[int, Field(ge=2, le=10000)] = 50
    """Items that a basket keeps, the most common ones: pairs grow with the square."""
    popularity_powers: Tries[Annotated[float, Field(ge=0, le=1)]] = (0.0, 0.5, 1.0)
    """Powers to try of how often an item follows any other, by which its counts are divided."""
    step_decays: Tries[Annotated[float, Field(gt=0, le=1)]] = (0.9, 0.7, 0.97)
    """Weights to try of a step back in the history: an item counts this much less than those of the step after."""
    self_weights: Tries[Annotated[float, Field(ge=0, le=1000)]] = (1.0, 10.0, 100.0)
    """Weights to try of an item that follows itself, where the card allows repeats; 0 leaves only others."""
    half_lives_days: Tries[HalfLife | None] = (None, 60.0)
    """Half-lives to try: a transition this old counts half."""
    gap_half_lives_hours: Tries[Annotated[float, Field(gt=0)] | None] = (None, 24.0)
    """Half-lives to try: a transition that took this long counts half."""

    def grid(self, repeats: bool) -> dict[str, tuple[Any, ...]]:
        """What validation chooses from: name of the chosen value -> values to try, in the order of trying."""
        return {
            "popularity_power": self.popularity_powers,
            "step_decay": self.step_decays,
            "self_weight": self.self_weights if repeats else self.self_weights[:1],
            "half_life_days": self.half_lives_days,
            "gap_half_life_hours": self.gap_half_lives_hours,
            **self.fill_grid(),
        }


class ContentParams(FilledUp):
    """Items whose declared features are like those of what a user took; nothing but features is needed of an item."""

    kind: Literal["content"]
    half_lives_days: Tries[HalfLife | None] = (None, 30.0)
    """Half-lives to try: what was taken this long ago counts half in a user's profile."""
    lean_on: Tries[Literal["popularity", "newness"]] = ("popularity", "newness")
    """What to try beside likeness: how much items were taken lately, or how lately they were first taken."""

    def grid(self, features: bool) -> dict[str, tuple[Any, ...]]:
        """What validation chooses from. features: items have any; else only popularity is left to choose."""
        grid: dict[str, tuple[Any, ...]] = {
            "half_life_days": self.half_lives_days,
            "lean_on": self.lean_on,
            **self.fill_grid(),
        }
        if not features:
            grid = {key: values if key == "popularity_window_days" else values[:1] for key, values in grid.items()}
        return {"features_used": (features,), **grid}


class FactorParams(FilledUp):
    """Keys of factorisations that are trained pass by pass."""

    components: Annotated[int, Field(ge=2, le=1024)] = 64
    """Length of each vector. Memory grows linearly with it."""
    max_epochs: Annotated[int, Field(ge=1, le=1000)] = 15
    """Upper limit; early stopping on the validation window usually ends sooner."""
    patience: Annotated[int, Field(ge=1, le=50)] = 3
    """Passes without a better validation score before a fit is stopped."""
    half_lives_days: Tries[HalfLife | None] = (30.0, 7.0, 90.0, None)
    """Half-lives to try: a pair's interactions this old count half. null weighs all alike."""
    regularizations: Tries[Annotated[float, Field(ge=0)]] = (0.01,)
    """L2 penalties on the vectors to try."""

    def recipes(self) -> dict[str, tuple[Any, ...]]:
        """What validation chooses from before popularity comes in: name -> values, in the order of trying."""
        return {"half_life_days": self.half_lives_days, "regularization": self.regularizations}


class AlsParams(FactorParams):
    """Alternating least squares on implicit feedback, weighted by recency."""

    kind: Literal["als"]
    alphas: Tries[Annotated[float, Field(gt=0)]] = (1.0, 10.0)
    """Confidences to try of a pair that happened, above the 1 of a pair that did not."""
    regularizations: Tries[Annotated[float, Field(ge=0)]] = (0.1, 1.0, 10.0, 30.0)
    """L2 penalties on the vectors to try."""

    def recipes(self) -> dict[str, tuple[Any, ...]]:
        return {**super().recipes(), "alpha": self.alphas}


class BprParams(FactorParams):
    """Bayesian personalised ranking, pairs drawn by recency."""

    kind: Literal["bpr"]
    max_epochs: Annotated[int, Field(ge=1, le=1000)] = 60
    """Upper limit; early stopping on the validation window usually ends sooner."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Step of the gradient descent."""


class LightFMHybridParams(Candidate):
    """LightFM on identities, declared features and a feature that all share, weighted by recency."""

    kind: Literal["lightfm_hybrid"]
    components: Annotated[int, Field(ge=4, le=512)] = 48
    """Length of each embedding. Cost and memory grow linearly with it."""
    loss: Literal["warp", "bpr", "logistic"] = "warp"
    """Ranking losses (warp, bpr) sample negatives; logistic takes all weights as positives."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Initial step of Adagrad."""
    max_epochs: Annotated[int, Field(ge=1, le=500)] = 30
    """Upper limit; early stopping on the validation window usually ends sooner."""
    patience: Annotated[int, Field(ge=1, le=50)] = 3
    """Epochs without a better validation score before a fit is stopped; at least as many as are kept."""
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


SourceParams = Annotated[
    PopularityParams
    | PersonalFrequencyParams
    | ItemKnnParams
    | UserKnnParams
    | EaseParams
    | TransitionsParams
    | ContentParams
    | AlsParams
    | BprParams
    | LightFMHybridParams,
    Field(discriminator="kind"),
]
"""Kinds that are a model of their own: what a blend can be made of."""


def _default_sources() -> dict[str, SourceParams]:
    """Sources that differ in what they look at.

    Only what is cheap to try or decisive is left to validation: the hybrid's half-life, how much popularity mixes in.
    """
    mixed: dict[str, Any] = {"popularity_windows_days": (28.0, 7.0, 56.0), "popularity_weights": (0.01, 1.0, 3.0)}
    return {
        "lightfm": LightFMHybridParams(kind="lightfm_hybrid", half_lives_days=(14.0, None), max_epochs=6),
        "own": PersonalFrequencyParams(kind="personal_frequency"),
        "recent": PopularityParams(kind="popularity", windows_days=(3.0, 7.0, 14.0, 28.0, 56.0)),
        "ease": EaseParams(
            kind="ease",
            l2=(3.0, 10.0),
            max_items=3000,
            half_lives_days=(60.0, None),
            step_decays=(1.0,),
            self_weights=(1.0,),
            popularity_windows_days=(28.0,),
            popularity_weights=(1.0, 0.1, 3.0),
        ),
        "item_knn": ItemKnnParams(
            kind="item_knn",
            weightings=("cosine",),
            neighbours=(100,),
            min_users=5,
            half_lives_days=(None,),
            step_decays=(0.9,),
            self_weights=(1.0,),
            **mixed,
        ),
        "transitions": TransitionsParams(
            kind="transitions",
            popularity_powers=(0.5,),
            step_decays=(0.9,),
            self_weights=(1.0,),
            half_lives_days=(None,),
            gap_half_lives_hours=(None, 24.0),
            **mixed,
        ),
        "content": ContentParams(kind="content", half_lives_days=(30.0,), lean_on=("popularity",), **mixed),
        "als": AlsParams(
            kind="als",
            max_epochs=12,
            half_lives_days=(None, 30.0),
            alphas=(1.0,),
            regularizations=(30.0, 10.0),
            popularity_windows_days=(28.0,),
            popularity_weights=(0.1, 0.3, 1.0),
        ),
    }


class BlendParams(Candidate):
    """Two stages: sources propose items, a LightGBM ranker that was trained on past windows orders them."""

    kind: Literal["blend"]
    sources: dict[str, SourceParams] = Field(default_factory=_default_sources)
    """Name -> candidate section of each source. Sources that cannot say anything about a log are switched off."""
    proposals: Annotated[int, Field(ge=10, le=500)] = 40
    """Items that each source proposes for each user; own items (where repeats are allowed) twice as many."""
    windows: Annotated[int, Field(ge=1, le=12)] = 3
    """Past windows, each as long as the validation window, that the ranker is trained on."""
    window_users: Annotated[int, Field(ge=100)] = 2500
    """Users of each past window that the ranker is trained on (sampled above it)."""
    trees: Annotated[int, Field(ge=1, le=640)] = 160
    """Most trees of the ranker; validation chooses how many of them are kept, down to none."""
    leaves: Annotated[int, Field(ge=2, le=255)] = 15
    """Leaves of each tree."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.08
    """Shrinkage of each tree."""


CandidateParams = Annotated[SourceParams | BlendParams, Field(discriminator="kind")]
