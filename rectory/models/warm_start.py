"""A warm start in files: the registered model that a candidate continues from, and what came of it.

parents/<candidate>/
  plan.json   whom the fit continues from, or why from nobody
  bundle/     the parent's bundle, fit.json its fit report; gone where nothing is to be fitted any more

The registry lays it out, the step train uses it, the lineage of the new version is read from it: docs/warm-start.md.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rectory.features.training_set import TrainingSet
from rectory.files import read_json, replacing, write_json
from rectory.models.bundle import Bundle
from rectory.models.protocol import CannotContinue, Earlier, FitReport, Recommender, SupportsWarmStart


@dataclass(frozen=True)
class Parent:
    """The registered version that a fit continues from.

    lineage_key: of it. chain: numbers of the versions that lead to the new one, the full fit first, the parent last.
    trained_until: ISO. reproducible: it and all before it.
    """

    version: str
    lineage_key: str
    chain: tuple[str, ...]
    trained_until: str
    reproducible: bool

    @property
    def words(self) -> str:
        since = f" (full fit of version {self.chain[0]}, warm start {len(self.chain)} since)"
        return f"Continued from version {self.version}{since}"


@dataclass(frozen=True)
class Plan:
    """parent: whom to continue from; None: nobody. why: why nobody, where there was somebody to think of."""

    parent: Parent | None = None
    why: str = ""

    @property
    def start(self) -> str:
        """A sentence for the fit report of a fit from scratch; empty where there was nothing to continue from."""
        return f"Fitted from scratch, because {self.why}." if self.why else ""


def lay_out(folder: Path, plan: Plan, bundle: Path | None = None, fit_report: Path | None = None) -> None:
    """Write `plan` and copy the parent's bundle and fit report beside it; what was in `folder` goes."""
    with replacing(folder) as scratch:
        scratch.mkdir(parents=True)
        if bundle is not None and fit_report is not None:
            shutil.copytree(bundle, scratch / "bundle")
            shutil.copyfile(fit_report, scratch / "fit.json")
        write_json(scratch / "plan.json", asdict(plan))


def read_plan(folder: Path) -> Plan:
    """The plan that was laid out; without one, nobody to continue from."""
    if not (folder / "plan.json").is_file():
        return Plan()
    told = read_json(folder / "plan.json")
    parent = told["parent"]
    return Plan(Parent(**{**parent, "chain": tuple(parent["chain"])}) if parent else None, told["why"])


def told(fit_report: dict[str, Any]) -> list[str]:
    """How a fit began and its notes, for reports; from the fit report's JSON."""
    return [str(one) for one in (fit_report.get("start"), *fit_report.get("notes", [])) if one]


def fit(model: Recommender, train: TrainingSet, folder: Path) -> FitReport:
    """Continue from the parent that lies in `folder`, else fit from scratch; gives the report with how it began.

    A parent that cannot be continued is struck from the plan, so that the lineage tells what happened.
    """
    plan = read_plan(folder)
    if (parent := plan.parent) is not None:
        try:
            report = _continue(model, train, folder)
            return replace(report, start=f"{parent.words}: {report.start}.")
        except CannotContinue as error:
            plan = Plan(None, f"version {parent.version} cannot be continued: {error}")
            lay_out(folder, plan)
    return replace(model.fit(train).report, start=plan.start)


def earlier(bundle: Bundle, report: FitReport, train: TrainingSet) -> Earlier:
    """A bundle as what `warm_fit` continues from."""
    users, items = bundle.users.encode(train.users.ids), bundle.items.encode(train.items.ids)
    return Earlier(bundle.model, report, users, items)


def _continue(model: Recommender, train: TrainingSet, folder: Path) -> FitReport:
    if not isinstance(model, SupportsWarmStart):
        raise CannotContinue(f"{type(model).__name__} knows no warm start")
    report = FitReport(**read_json(folder / "fit.json"))
    model.warm_fit(train, earlier(Bundle.load(folder / "bundle"), report, train))
    return model.report
