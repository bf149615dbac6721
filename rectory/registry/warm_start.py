"""Whom a nightly fit continues from: chosen from what is registered and from data that is older than today's.

The choice depends on the registered versions and today's training set alone, so that it can be told again; what it
came to is in the new version's lineage. See docs/warm-start.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.data.ids import UNKNOWN
from rectory.errors import StoreError
from rectory.features.training_set import TrainingSet
from rectory.models.bundle import Bundle
from rectory.models.catalogue import model_class
from rectory.models.protocol import SupportsWarmStart
from rectory.models.warm_start import Parent, Plan, lay_out
from rectory.params import Params
from rectory.registry.lineage import Lineage, recipe
from rectory.registry.record import FIT_FILE
from rectory.registry.versions import Version, Versions
from rectory.workspace import Workspace


def can_continue(params: Params, candidate: str) -> bool:
    """Warm starts are asked for, and this kind of model knows them."""
    kind = params.train.candidates[candidate].kind
    return params.train.warm_start.full_every > 1 and issubclass(model_class(kind), SupportsWarmStart)


def parent_of(version: Version) -> Parent | None:
    """Whom a registered version continued from; None: it was fitted from scratch."""
    if version.warm_start_of is None:
        return None
    return Parent(
        version=version.chain[-1],
        lineage_key=version.warm_start_of,
        chain=version.chain,
        trained_until="",
        reproducible=version.tags["reproducible"] == "true",
    )


@dataclass(frozen=True)
class Chooser:
    """Chooses and lays out parents for one run.

    train: today's training set, read when it is needed.
    """

    params: Params
    workspace: Workspace
    store: Versions
    train: Callable[[], TrainingSet]

    def lay_out(self, candidate: str, lineage: Lineage) -> Plan:
        """Choose whom `candidate` continues from and put it where the step train looks; gives the plan.

        Args:
            lineage: the candidate's, as if it were fitted from scratch.
        """
        plan, bundle, report = Plan(), None, None
        older = self._older(candidate)
        if older:
            same = [one for one in older if one.tags.get("made_by") == lineage.made_by]
            why = self._refusal(same[0]) if same else changed_since(older[0], lineage, recipe(self.params, candidate))
            if same and not why:
                try:
                    bundle, report = self.store.bundle_folder(same[0]), self.store.artifact(same[0], FIT_FILE)
                    why = _past_changed(Bundle.load(bundle), self.train(), same[0], self.params)
                except StoreError as error:
                    why = f"the files of version {same[0].version} cannot be had ({error})"
            if not why and report is None:
                why = f"version {same[0].version} has no {FIT_FILE}"
            plan = Plan(None, why) if why else Plan(_as_parent(same[0]))
        if plan.parent is None:
            bundle = report = None
        lay_out(self.workspace.parent(candidate), plan, bundle, report)
        return plan

    def _older(self, candidate: str) -> list[Version]:
        """Versions of the candidate that were trained on older data, the newest data first."""
        found = [
            one
            for one in self.store.versions(self.params.dataset)
            # A refit may know today's test window.
            if one.candidate == candidate and one.refit_of is None
        ]
        if not found:
            return []
        end = self.train().end
        older = [one for one in found if _seconds(one.trained_until) < end - 1e-3]
        return sorted(older, key=lambda one: (_seconds(one.trained_until), int(one.version)), reverse=True)

    def _refusal(self, version: Version) -> str:
        """Why the newest version that was made the same way is not to be continued; empty: it may be."""
        every = self.params.train.warm_start.full_every
        if len(version.chain) + 2 > every:
            return (
                f"{len(version.chain)} warm starts have followed the full fit of version "
                f"{(*version.chain, version.version)[0]} (train.warm_start.full_every is {every})"
            )
        return ""


def _as_parent(version: Version) -> Parent:
    chain = (*version.chain, version.version)
    reproducible = version.tags["reproducible"] == "true"
    return Parent(version.version, version.lineage_key, chain, version.trained_until, reproducible)


def changed_since(version: Version, lineage: Lineage, asked: str) -> str:
    """What a fit of today would do otherwise than the version's, in words. asked: today's recipe."""
    what = "split, features, train.seed, train.validation_users or the card's mapping"
    if version.tags["code_hash"] != lineage.code:
        what = "the code"
    elif version.tags["lock_hash"] != lineage.lock:
        what = "the lock file"
    elif version.recipe != asked:
        what = "the candidate's own params"
    return f"{what} changed since version {version.version}"


def _past_changed(bundle: Bundle, train: TrainingSet, version: Version, params: Params) -> str:
    """Why today's rows are not the version's with more behind them; empty: they are.

    What was taken out of the log (somebody asked to be forgotten, rows were found to be bad) still shows in embeddings
    that were learnt with it: only a fit from scratch forgets.
    """
    if params.split.history_days is not None:
        return "split.history_days is set: rows that grew old cannot be told from rows that were taken out of the log"
    known = int(bundle.seen.sum())
    gone = rows_gone(bundle, train, _seconds(bundle.trained_until))
    if gone:
        return f"{gone:,} of the {known:,} rows that version {version.version} was trained on are no longer in the log"
    new, most = len(train.time) - known, params.train.warm_start.max_new_share
    if new > most * len(train.time):
        share = new / len(train.time)
        return (
            f"{share:.1%} of the rows are new since version {version.version}, more than "
            f"train.warm_start.max_new_share ({most:.1%})"
        )
    return ""


def rows_gone(bundle: Bundle, train: TrainingSet, until: float) -> int:
    """Rows that the bundle was trained on and `train` does not have before `until` (seconds), pair by pair."""
    then = bundle.seen.tocoo()
    user = train.users.encode(bundle.users.ids)[then.row]
    item = train.items.encode(bundle.items.ids)[then.col]
    there = (user != UNKNOWN) & (item != UNKNOWN)
    shape = (train.n_users, train.n_items)
    kept = csr_array((then.data[there], (user[there], item[there])), shape=shape)
    short = kept - train.until(until + 1e-3, until).counts()
    return int(then.data[~there].sum() + np.maximum(short.data, 0).sum())


def _seconds(moment: str) -> float:
    return pd.Timestamp(datetime.fromisoformat(moment)).value / 1e9
