"""Before a champion serves: what its live answers need, fitted on the window before the one it was judged by."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from rectory.data.card import Card
from rectory.features.training_set import TrainingSet
from rectory.models.blend import Blend
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build
from rectory.models.protocol import Recommender
from rectory.params.candidates import CandidateParams
from rectory.serving.codes import Codes
from rectory.serving.fitting import Tried, choose_mix, fit_links, import_for_links, sampled
from rectory.serving.links import Links
from rectory.serving.loading import Ingredients, Rows
from rectory.serving.mixing import Mix, Settings
from rectory.serving.process import small_products
from rectory.serving.replay import collect, worth_asking

_BASKETS = 0.2
"""Share of the interactions that come at the same moment as another of the user, from which on a log is of baskets."""


def prepare(
    train: TrainingSet,
    card: Card,
    candidate: CandidateParams,
    chosen: dict[str, Any],
    *,
    model: Recommender,
    seed: int,
) -> tuple[Links, Mix]:
    """Links over all of `train`, and the weights that the validation window asks for.

    The champion's recipe is fitted once more on what came before the validation window, as its fit had chosen it; the
    engine that serves then walks through the window event by event. The test window is not touched.

    Args:
        candidate: the champion's section in params.yaml. chosen: what its fit chose. model: it itself.
    """
    before = train.before_validation()
    if not len(before.user) or len(before.user) == len(train.user):
        return fit_links(train, Settings().moment_seconds), Mix.untuned()
    settings = settings_of(train)
    import_for_links()
    with small_products(), ThreadPoolExecutor(os.cpu_count()) as threads:
        # Side by side: nearly all of it is outside of Python's lock.
        links, links_before = (threads.submit(fit_links, rows, settings.moment_seconds) for rows in (train, before))
        if isinstance(model, Blend):
            earlier: Recommender = model.before_validation(train, chosen)
        else:
            earlier = build(candidate, seed, 0).refit(before, chosen)
    bundle = Bundle.of("before", candidate.kind, earlier, before, titles=None, dataset=card.name)
    rows = Rows.of(train.user, train.item, train.time, train.weight, train.target)
    made = Ingredients(
        version="before",
        bundle=bundle,
        card=card,
        users=Codes(train.users.ids),
        items=Codes(train.items.ids),
        rows=rows,
        block=train.item_features,
        table=None,
        links=lambda *_: links_before.result(),
        mix=Mix.everything(settings),
    )
    cut = len(before.user)
    known, later = rows.part(slice(0, cut)), rows.part(slice(cut, None))
    asked = sampled(worth_asking(later, known, train.repeats))
    engine = made.engine(until=train.validation_start)
    with small_products():
        users = np.unique(later.user[asked])
        engine.champion.warm(users, [engine.taken(made.users.ids[user]) for user in users.tolist()])
        examples, user = collect(engine, later, made.users.ids, made.items.ids, asked=asked)
        mix = choose_mix(Tried(settings, examples, user))
    return links.result() if "embedded" in mix.linked else links.result().without_vectors(), mix


def settings_of(train: TrainingSet) -> Settings:
    """Where items repeat and much is taken at one moment it is baskets, which have no order: a step is a moment.

    Elsewhere each interaction is a step: of pages of ratings sent at once the order is that of the page.
    """
    order = np.lexsort((train.time, train.user))
    user, time = train.user[order], train.time[order]
    together = float(np.mean((user[1:] == user[:-1]) & (time[1:] == time[:-1]))) if len(user) > 1 else 0.0
    return Settings(moment_seconds=0.0) if train.repeats and together > _BASKETS else Settings()
