"""Two stages around the LightFM hybrid: sources propose, a ranker that was trained on past windows orders.

The ranker never learns from what the sources were fitted on: for each past window the sources are fitted on the rows
before it, and what they then proposed is held against what came true in it. See docs/blend.md.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.files import read_json, write_json
from rectory.models.blend_choice import (
    Choice,
    Curve,
    Singles,
    at_best,
    choose_trees,
    core_of,
    of_today,
    optional_of,
    pay,
    switched_on,
)
from rectory.models.blend_history import History
from rectory.models.blend_live import Proposing, facts_for, ranked
from rectory.models.blend_moment import Moment, days_of, fitted_side_by_side
from rectory.models.blend_proposals import Proposals, describe
from rectory.models.blend_ranker import Examples, Ranker, prior, ranker_columns
from rectory.models.catalogue import build, import_for_fit, model_class
from rectory.models.lightgbm_import import import_lightgbm
from rectory.models.live_history import LiveHistory
from rectory.models.protocol import (
    NO_ITEM,
    CannotContinue,
    Earlier,
    FitReport,
    Fitted,
    Reason,
    Recommender,
    SupportsWarmStart,
    TopK,
)
from rectory.models.topk import pairs_of, rank_pairs, rank_shared
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import BlendParams, SourceParams

_LOG = logging.getLogger(__name__)
_RANKER = "ranker.txt"
_FILL = -100.0
"""Score of what no source proposed, below every log odds; popularity orders it."""
_NEWER = ", newer"
"""Ends the name of a source as the newest window would set it, beside the same source as the window before it did."""
_USUAL_WINDOW_DAYS = 28.0
"""Of a blend that was kept without the length of its windows."""


class Blend(Fitted):
    """score = PRIOR * nearness to the top of the best single source's list + the ranker's trees.

    Boosting starts from the order of the best single source, and validation chooses how many trees go beyond it: where
    there is too little to learn from, none; where there is no past window at all, the best source answers alone.
    """

    def __init__(self, params: BlendParams, seed: int, validation_users: int) -> None:
        self._params = params
        self._seed = seed
        self._validation_users = validation_users
        self._sources: dict[str, Recommender] = {}
        self._history: History
        self._ranker: Ranker | None = None
        self._best = ""
        self._window_days = _USUAL_WINDOW_DAYS

    # Fitting.

    def fit(self, train: TrainingSet) -> Self:
        """Choose sources' settings on the window before the validation window, the trees on that, then refit."""
        kept, notes = switched_on(self._params, train)
        windows = self._windows(train)
        if len(windows) < 2:  # one to train on, one to choose on
            return self._fit_single(train, kept, notes)
        fits = self._side_by_side(kept, lambda name: self._build(name).fit(windows[1]))
        settings = {name: fits[name].report.chosen for name in kept}
        validation = Validation(train, self._validation_users, self._seed)
        popular = [name for name in kept if self._params.sources[name].kind == "popularity"]
        changed, changes = of_today(popular, settings, self._build, train, validation)
        # Asked beside the others in every window, so that no window has to be made again for them in the end.
        newer = {name + _NEWER: setting for name, setting in changed.items()}
        settings |= newer
        fits |= self._fit_sources(windows[1], newer)
        now = Moment(fits, History.of(windows[1], days_of(windows[0])), self._depths(fits))
        examples = [now.examples(validation), self._past(windows[1], settings)]
        held = [validation, self._asked_in(windows[1])]
        kept, told = self._worthwhile(now, kept, held, examples)
        today = [name + _NEWER if name in changed else name for name in kept]
        asked = now.only([*kept, *today])
        rest = self._pasts(windows[2:], {name: settings[name] for name in asked.sources})
        examples = [*(now.narrowed(one, list(asked.sources)) for one in examples), *rest]
        narrowed = [asked.narrowed(one, kept) for one in examples]
        singles = Singles.of(validation, narrowed[0], kept)
        curves, ranker = self._judged(held, narrowed, singles.column, asked.only(kept).names)
        choice = choose_trees(validation, narrowed[0], singles, curves)
        pasts = len(narrowed) - 1
        sources = {name: settings[one] for name, one in zip(kept, today, strict=True)}
        chosen = {"sources": sources, "best": singles.best, "trees": choice.trees, "windows": pasts}
        notes += told + _told(choice, ranker, pasts, days_of(windows[0])) + changes
        if self.observer is not None:
            for values in choice.curve.per_user:
                self.observer(values)
        self._report = FitReport(METRIC, choice.score, chosen, choice.rows, notes)
        # The validation window is the newest of those that the ranker learns from in the end.
        few = np.isin(validation.users, self._asked_in(windows[0]).users)
        latest, *made = (asked.narrowed(one, today) for one in examples[:-1])
        return self._finish(train, chosen, [latest.of_users(few), *made])

    def _worthwhile(
        self, now: Moment, kept: list[str], held: list[Validation], examples: list[Examples]
    ) -> tuple[list[str], list[str]]:
        """Names of the sources to go on with, and why: optional ones unless it is clear that their group does not pay.

        Args:
            now: sources as they were fitted before the validation window.
            kept: names of those to choose among.
            held, examples: of the validation window and of the one before it.
        """
        kinds = {name: self._params.sources[name].kind for name in kept}

        def tried(names: list[str]) -> Float64Array:
            asked = [now.narrowed(one, names) for one in examples]
            singles = Singles.of(held[0], asked[0], names)
            return at_best(self._judged(held, asked, singles.column, now.only(names).names)[0])

        going, groups = core_of(kinds), optional_of(kinds)
        if not groups:
            return going, []
        score, told = tried(going), []
        for group in groups:
            wider = [name for name in kept if name in going or name in group]
            wide = tried(wider)
            pays, sentence = pay(score, wide, group)
            told.append(sentence)
            if pays:
                going, score = wider, wide
        return going, told

    def _judged(
        self, held: list[Validation], examples: list[Examples], column: int, names: list[str]
    ) -> tuple[list[Curve], Ranker]:
        """A curve for each window that is held out in turn, and the ranker that the first one was held out of.

        Args:
            held: the newest windows. examples: of these and, behind them, of those that are learnt from alone.
            column: of the source whose order boosting starts from. names: of the ranker's columns.
        """
        trees = self._params.trees
        import_lightgbm()  # before threads that need it start

        def without(place: int) -> tuple[Curve, Ranker]:
            ranker = self._train([one for at, one in enumerate(examples) if at != place], column, trees, names)
            return Curve.of(held[place], examples[place], column, ranker, trees), ranker

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            judged = list(threads.map(without, range(len(held))))
        return [curve for curve, _ in judged], judged[0][1]

    def _fit_single(self, train: TrainingSet, kept: list[str], notes: list[str]) -> Self:
        """No past window to train a ranker on: the source with the best validation score."""
        fits = self._side_by_side(kept, lambda name: self._build(name).fit(train))
        best = max(fits, key=lambda name: fits[name].report.score)
        settings = {name: fit.report.chosen for name, fit in fits.items()}
        curve = [{"source": name, "score": fit.report.score} for name, fit in fits.items()]
        notes.append(f"The log is too short to train a ranker on a past window: {best} alone answers.")
        chosen = {"sources": settings, "best": best, "trees": 0, "windows": 0}
        self._report = FitReport(METRIC, fits[best].report.score, chosen, curve, notes)
        return self.refit(train, chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        return self._finish(train, chosen, [])

    @classmethod
    def kept_files(cls) -> tuple[str, ...]:
        return (_RANKER,)

    def refit_keeping(self, train: TrainingSet, chosen: dict[str, Any], kept: Path) -> Self:
        """The sources are fitted again, once; past windows, which only a new ranker would need, are not looked at."""
        settings = chosen["sources"]
        ranker = Ranker((kept / _RANKER).read_text(encoding="utf-8"))
        if not self._stand(train, list(settings), chosen["best"], ranker):
            _LOG.warning("the ranker looks at other columns than today's log has: it is trained anew")
            return self.refit(train, chosen)
        self._sources = self._fit_sources(train, settings)
        return self

    def warm_fit(self, train: TrainingSet, earlier: Earlier) -> Self:
        """Keep the earlier ranker and all that was chosen; sources go on where they can and are fitted anew elsewhere.

        Raises:
            CannotContinue: a source or a column that the ranker looks at is gone.
        """
        before: Blend = earlier.model
        settings: dict[str, Any] = earlier.report.chosen["sources"]
        if gone := sorted(set(settings) - set(switched_on(self._params, train)[0])):
            raise CannotContinue(f"its source {gone[0]} has nothing to say of today's log")
        if not self._stand(train, list(settings), before._best, before._ranker):
            raise CannotContinue("its ranker looks at other columns than today's log has")

        def source(name: str) -> Recommender:
            own = self._build(name)
            if not isinstance(own, SupportsWarmStart):
                return own.refit(train, settings[name])
            of_source = FitReport(METRIC, 0.0, settings[name])
            return own.warm_fit(train, replace(earlier, model=before._sources[name], report=of_source))

        self._sources = self._side_by_side(list(settings), source)
        told = [
            f"source {name} goes on ({one.report.start})"
            for name, one in self._sources.items()
            if isinstance(one, SupportsWarmStart)
        ]
        told += ["the other sources are fitted anew with their settings"] if len(told) < len(settings) else []
        told += [f"the ranker of {earlier.report.chosen['trees']} trees is kept"] if self._ranker is not None else []
        self._report = replace(earlier.report, start="; ".join(told))
        return self

    def _stand(self, train: TrainingSet, names: list[str], best: str, ranker: Ranker | None) -> bool:
        """All but the fitted sources, with a ranker that is there; False: it looks at other columns than `train` has.

        Args:
            names: of the sources.
        """
        self._sources = {name: self._build(name) for name in names}
        self.__dict__.pop("_proposing", None)
        self._history, self._window_days = History.of(train, days_of(train)), days_of(train)
        self._best, self._ranker = best, ranker
        return ranker is None or ranker.columns == ranker_columns(self._moment.names)

    def before_validation(self, train: TrainingSet, chosen: dict[str, Any]) -> Blend:
        """This blend as it would have stood at the start of the validation window: sources of then, the ranker of now.

        A ranker of then would need a past window more than the log may have.
        """
        model = Blend(self._params, self._seed, self._validation_users)
        before = train.before_validation()
        model._sources = model._fit_sources(before, chosen["sources"])
        model._history, model._window_days = History.of(before, days_of(train)), days_of(train)
        model._ranker, model._best = self._ranker, self._best
        return model

    def _finish(self, train: TrainingSet, chosen: dict[str, Any], known: list[Examples]) -> Self:
        """Train the ranker on the newest windows, validation window included, and the sources on everything.

        Args:
            known: examples of the newest windows that are made already, newest first.
        """
        settings = chosen["sources"]
        self._best, self._ranker = chosen["best"], None
        self.__dict__.pop("_proposing", None)
        windows = self._windows(train)[: chosen["windows"]] if chosen["trees"] else []
        examples = [*known, *self._pasts(windows[len(known) :], settings)]
        self._sources = self._fit_sources(train, settings)
        self._history, self._window_days = History.of(train, days_of(train)), days_of(train)
        if chosen["trees"]:
            best = list(settings).index(self._best)
            self._ranker = self._train(examples, best, chosen["trees"], self._moment.names)
        return self

    def _windows(self, train: TrainingSet) -> list[TrainingSet]:
        """The log as it stood at the end of the validation window and of the windows before it, newest first.

        Each is as long as the validation window and is the validation window of its own set. Windows without anybody
        to ask, or with less than another window's length of log before them, are not used.
        """
        length = train.end - train.validation_start
        found = []
        for back in range(self._params.windows + 1):
            start, end = train.validation_start - back * length, train.end - back * length
            if back and (not len(train.time) or start - length < train.time[0]):
                break
            window = train.until(end, start)
            if len(self._asked_in(window).users) == 0:
                break
            found.append(window)
        return found

    def _pasts(self, windows: list[TrainingSet], settings: dict[str, Any]) -> list[Examples]:
        """`_past` of each, side by side: the slowest source leaves cores idle."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return list(threads.map(lambda window: self._past(window, settings), windows))

    def _past(self, window: TrainingSet, settings: dict[str, Any]) -> Examples:
        """What the sources would have proposed at the start of a window, and what came true in it."""
        before = window.before_validation()
        sources = self._fit_sources(before, settings)
        moment = Moment(sources, History.of(before, days_of(window)), self._depths(settings))
        return moment.examples(self._asked_in(window))

    def _asked_in(self, window: TrainingSet) -> Validation:
        """The users of a window that the ranker may learn from, and what they took in it."""
        return Validation(window, self._window_users, self._seed)

    def _fit_sources(self, train: TrainingSet, settings: dict[str, Any]) -> dict[str, Recommender]:
        return self._side_by_side(list(settings), lambda name: self._build(name).refit(train, settings[name]))

    def _side_by_side(self, names: list[str], fit: Callable[[str], Recommender]) -> dict[str, Recommender]:
        for name in names:
            import_for_fit(self._params_of(name).kind)
        return fitted_side_by_side(names, fit)

    def _build(self, name: str) -> Recommender:
        return build(self._params_of(name), self._seed, self._validation_users)

    def _params_of(self, name: str) -> SourceParams:
        return self._params.sources[name.removesuffix(_NEWER)]

    @property
    def parts(self) -> Mapping[str, Recommender]:
        """Name of a source -> its model."""
        return self._sources

    @property
    def _moment(self) -> Moment:
        return Moment(self._sources, self._history, self._depths(self._sources))

    def _depths(self, names: Iterable[str]) -> dict[str, int]:
        # A user's own items are the one list that is not alike for everyone: it pays to look further down.
        own = {name: self._params_of(name).kind == "personal_frequency" for name in names}
        return {name: self._params.proposals * (2 if own[name] else 1) for name in own}

    @property
    def _window_users(self) -> int:
        return min(self._params.window_users, self._validation_users)

    def _train(self, examples: list[Examples], best: int, trees: int, names: list[str]) -> Ranker:
        return Ranker.train(examples, best=best, names=names, params=self._params, trees=trees, seed=self._seed)

    # Answering.

    def recommend(
        self, users: Int32Array, k: int, *, exclude: csr_array | None = None, items: Int32Array | None = None
    ) -> TopK:
        rows, codes, scores = [], [], []
        allowed = None if items is None else np.isin(np.arange(self._history.n_items), items)
        for proposals, facts in self._moment.described(users, exclude):
            kept = slice(None) if allowed is None else allowed[proposals.item]
            rows.append(proposals.row[kept])
            codes.append(proposals.item[kept])
            scores.append(self._scores(proposals, describe(proposals, facts))[kept])
        if not rows:
            return rank_shared(self._popular(), 0, k, None, None)
        row, item, score = np.concatenate(rows), np.concatenate(codes), np.concatenate(scores)
        short = np.flatnonzero(np.bincount(row, minlength=len(users)) < k)
        if len(short):
            filled = self._fill(short, (row, item), k, exclude, items)
            row, item, score = (np.concatenate(pair) for pair in zip((row, item, score), filled, strict=True))
        return rank_pairs(row, item, score, len(users), k)

    def recommend_for_history(
        self, history: LiveHistory, k: int, *, exclude: Int32Array | None = None, items: Int32Array | None = None
    ) -> TopK:
        """What the sources propose for the history as it is now, ordered by features made anew.

        Shorter than k where the sources propose less: nothing is filled up.
        """
        proposals = self._proposing.propose(history, exclude)
        facts = facts_for(self._history, history, proposals.item, self._window_days)
        start = prior(proposals, list(self._sources).index(self._best))
        if self._ranker is not None:
            start = start + self._ranker.beyond(describe(proposals, facts))
        kept = slice(None) if items is None else np.isin(proposals.item, items)
        return ranked(proposals.item[kept], start[kept], k)

    @cached_property
    def _proposing(self) -> Proposing:
        return Proposing(self._sources, self._depths(self._sources))

    def _scores(self, proposals: Proposals, x: Float32Array) -> Float64Array:
        start = prior(proposals, list(self._sources).index(self._best))
        return start if self._ranker is None else start + self._ranker.beyond(x)

    def _fill(
        self, short: Array, proposed: tuple[Array, Array], k: int, exclude: csr_array | None, items: Int32Array | None
    ) -> tuple[Array, Array, Array]:
        """Popular items, below everything, for rows with fewer than k proposals: row, item and score of each."""
        row, item = proposed
        place = np.full(int(max(short.max(), row.max(initial=0))) + 1, -1, dtype=np.int64)
        place[short] = np.arange(len(short))
        hidden_rows, hidden_items = place[row], item
        if exclude is not None:
            more_rows, more_items = pairs_of(exclude[short])
            hidden_rows, hidden_items = np.concatenate([hidden_rows, more_rows]), np.concatenate([item, more_items])
        kept = hidden_rows >= 0
        ones = np.ones(int(kept.sum()), dtype=np.float32)
        shape = (len(short), self._history.n_items)
        hidden = csr_array((ones, (hidden_rows[kept], hidden_items[kept])), shape=shape)
        top = rank_shared(self._popular(), len(short), k, hidden, items)
        rows, places = np.nonzero(top.items != NO_ITEM)
        return short[rows], top.items[rows, places], _FILL + top.scores[rows, places].astype(np.float64)

    def _popular(self) -> Float32Array:
        """(n_items,) what fills up: popular in the newest window, then ever."""
        return (self._history.item("item_window") + 0.01 * self._history.item("item_ever")).astype(np.float32)

    def similar(self, items: Int32Array, k: int) -> TopK:
        """As the hybrid sees it, else the first source."""
        return self._sources["lightfm" if "lightfm" in self._sources else next(iter(self._sources))].similar(items, k)

    def explain(self, user: int, item: int) -> list[Reason]:
        """What the ranker made of each group of features, and the leaning on the best source."""
        users = np.array([user], dtype=np.int32)
        proposals, facts = next(self._moment.described(users, None))
        at = np.flatnonzero(proposals.item == item)
        if not len(at):
            popular = Reason("popular with everyone", float(self._popular()[item]))
            return [popular, Reason("no source proposes it to this user", _FILL)]
        reasons = [] if self._ranker is None else self._ranker.explain(describe(proposals, facts)[at])
        start = prior(proposals, list(self._sources).index(self._best))[at]
        reasons.append(Reason(f"place in the list of {self._best}", float(start[0])))
        return sorted(reasons, key=lambda reason: -reason.contribution)

    # Keeping.

    def save(self, folder: Path) -> None:
        """blend.json, ranker.txt (LightGBM's text), history/, sources/<name>/."""
        write_json(
            folder / "blend.json",
            {
                "params": self._params.model_dump(mode="json"),
                "sources": list(self._sources),
                "best": self._best,
                "window_days": self._window_days,
            },
        )
        if self._ranker is not None:
            (folder / _RANKER).write_text(self._ranker.text, encoding="utf-8")
        (folder / "history").mkdir()
        self._history.save(folder / "history")
        for name, source in self._sources.items():
            (folder / "sources" / name).mkdir(parents=True)
            source.save(folder / "sources" / name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_json(folder / "blend.json")
        model = cls(BlendParams.of_saved(facts["params"]), seed=0, validation_users=0)
        for name in facts["sources"]:
            kind = model._params.sources[name].kind
            model._sources[name] = model_class(kind).load(folder / "sources" / name)
        model._history = History.load(folder / "history")
        text = folder / _RANKER
        model._ranker = Ranker(text.read_text(encoding="utf-8")) if text.is_file() else None
        model._best = facts["best"]
        model._window_days = facts.get("window_days", _USUAL_WINDOW_DAYS)
        return model


def _told(choice: Choice, ranker: Ranker, windows: int, days: float) -> list[str]:
    """What was chosen and why, for the report."""
    return [
        f"The ranker learns from {windows} past windows of {days:.1f} days, each before the validation window; the one "
        "that is registered learns from the validation window too.",
        *choice.notes,
        "What the ranker looks at most: "
        + ", ".join(f"{name} {share:.0%}" for name, share in ranker.gains()[:6])
        + ".",
    ]
