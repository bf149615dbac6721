"""All that is kept about one candidate, gathered from a run's files; store.py hands it to MLflow."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rectory.data.card import Card
from rectory.files import read_json, sha256_json, tree_digests, write_json
from rectory.models.bundle import Bundle
from rectory.params import Params, dump_params
from rectory.registry.environment import Checkout, machine
from rectory.registry.lineage import Lineage, recipe
from rectory.registry.model_card import model_card
from rectory.registry.sample_lists import SAMPLE_FILE, sample_lists
from rectory.workspace import Workspace

FORMAT_VERSION = "1"
"""Of tags and artifacts; raised when a reader of old versions would stumble."""
PARAMS_FILE = "params.json"
CARD_FILE = "card.yaml"
PATCH_FILE = "code.patch"
LOCK_FILE = "environment/requirements.lock"
DIGESTS_FILE = "bundle_digests.json"
FIT_FILE = "fit.json"
METRICS_FILE = "metrics.json"
TIMING_FILE = "timing.json"
CURVE_FILE = "plots/learning_curve.csv"
BEHAVIOUR_FILE = "behaviour.json"

Facts = dict[str, Any]


@dataclass(frozen=True)
class RunContext:
    """What all candidates of a run share.

    snapshot: as the snapshot step wrote it. lineage: of the whole run. run_id: name of the run's folder.
    """

    params: Params
    card: Card
    workspace: Workspace
    snapshot: Facts
    lineage: Lineage
    checkout: Checkout
    run_id: str


@dataclass(frozen=True)
class Record:
    """One candidate, ready to be registered.

    metrics, fit, timing, behaviour: as their steps wrote them; behaviour is None where that step did not run.
    """

    run: RunContext
    candidate: str
    lineage: Lineage
    metrics: Facts
    fit: Facts
    timing: Facts
    behaviour: Facts | None = None

    @property
    def bundle(self) -> Path:
        return self.run.workspace.model(self.candidate)

    @property
    def dataset(self) -> str:
        return self.run.params.dataset

    def tags(self) -> dict[str, str]:
        """Lineage and origin, on the run and on the version."""
        asked = self.run.params.train.candidates[self.candidate]
        checkout = self.run.checkout
        threads, parent = int(getattr(asked, "threads", 1)), self.lineage.parent
        return {
            "dataset": self.dataset,
            "candidate": self.candidate,
            "kind": asked.kind,
            "baseline": _flag(asked.baseline),
            "as_of": str(self.run.snapshot["as_of"]),
            "trained_until": str(read_json(self.bundle / "bundle.json")["trained_until"]),
            "snapshot_hash": self.lineage.data,
            "lineage_key": self.lineage.key,
            "recipe": recipe(self.run.params, self.candidate),
            "code_hash": self.lineage.code,
            "lock_hash": self.lineage.lock,
            "commit": checkout.commit,
            "dirty": _flag(checkout.dirty),
            "reproducible": _flag(threads == 1 and not checkout.dirty and (parent is None or parent.reproducible)),
            "made_by": self.lineage.made_by,
            "bundle_hash": sha256_json(tree_digests(self.bundle)),
            "rectory.run_id": self.run.run_id,
            "format_version": FORMAT_VERSION,
            **machine(),
            **self._warm_start(),
        }

    def _warm_start(self) -> dict[str, str]:
        """Tags of a version that continues from another."""
        parent = self.lineage.parent
        if parent is None:
            return {}
        return {
            "fresh_key": self.lineage.fresh_key,
            "warm_start_of": parent.lineage_key,
            "warm_start_chain": ",".join(parent.chain),
        }

    def params(self) -> dict[str, str]:
        """What split, features and train were told, flat, and what validation chose."""
        told = {name: self.lineage.params[name] for name in ("split", "features", "train")}
        chosen = {"chosen": self.fit.get("chosen", {})}
        return {key: str(value)[:6000] for key, value in flatten({**told, **chosen}).items()}

    def numbers(self) -> dict[str, float]:
        """Metrics of the test window with the ends of their intervals, validation score, cost of the fit.

        MLflow allows no `@` in names: ndcg@10 is ndcg_at_10, ndcg_at_10_low, ndcg_at_10_high.
        """
        found: dict[str, float | None] = {
            "validation_score": self.fit.get("score"),
            "fit_seconds": self.timing.get("seconds"),
            "peak_memory_mb": self.timing.get("peak_memory_mb"),
            "test_users": self.metrics.get("users"),
        }
        for name, interval in self.metrics.get("metrics", {}).items():
            plain = name.replace("@", "_at_")
            found[plain] = interval["value"]
            found[f"{plain}_low"] = interval["low"]
            found[f"{plain}_high"] = interval["high"]
        return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}

    def write_artifacts(self, folder: Path) -> None:
        """Files that go beside the model: all that a reader or `reproduce` needs."""
        workspace = self.run.workspace
        write_json(folder / PARAMS_FILE, dump_params(self.run.params))
        write_json(folder / "lineage.json", {"run_key": self.run.lineage.key, **asdict(self.lineage)})
        write_json(folder / "snapshot.json", self.run.snapshot)
        write_json(folder / METRICS_FILE, self.metrics)
        if self.behaviour is not None:
            write_json(folder / BEHAVIOUR_FILE, self.behaviour)
        write_json(folder / FIT_FILE, self.fit)
        write_json(folder / TIMING_FILE, self.timing)
        write_json(folder / DIGESTS_FILE, tree_digests(self.bundle))
        write_json(folder / SAMPLE_FILE, sample_lists(Bundle.load(self.bundle)))
        (folder / "environment").mkdir()
        write_json(folder / "environment" / "machine.json", machine())
        if workspace.lock_file.is_file():
            shutil.copyfile(workspace.lock_file, folder / LOCK_FILE)
        shutil.copyfile(workspace.card(self.dataset), folder / CARD_FILE)
        if self.run.checkout.patch:
            (folder / PATCH_FILE).write_bytes(self.run.checkout.patch)
        self._write_plots(folder / "plots")
        (folder / "model_card.md").write_text(
            model_card(self.run.card, self.tags(), self.metrics, self.fit), encoding="utf-8"
        )

    def _write_plots(self, folder: Path) -> None:
        from rectory.registry.figures import intervals_figure, learning_figure

        folder.mkdir()
        curve = self.run.workspace.learning_curve(self.candidate)
        if curve.is_file():
            shutil.copyfile(curve, folder / Path(CURVE_FILE).name)
        if len(self.fit.get("curve", [])) > 1:
            learning_figure(self.fit["curve"], self.fit["metric"], folder / "learning_curve.png")
        if self.metrics.get("metrics"):
            intervals_figure(self.metrics["metrics"], folder / "metrics.png")


def gather(run: RunContext, candidate: str, lineage: Lineage) -> Record:
    """Read what train, evaluate and behave left for one candidate.

    Raises:
        DataError: a step has not run.
    """
    workspace = run.workspace
    timing, behaviour = workspace.timing(f"train-{candidate}"), workspace.behaviour(candidate)
    return Record(
        run=run,
        candidate=candidate,
        lineage=lineage,
        metrics=read_json(workspace.metrics(candidate)),
        fit=read_json(workspace.fit_report(candidate)),
        timing=read_json(timing) if timing.is_file() else {},
        behaviour=read_json(behaviour) if behaviour.is_file() else None,
    )


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys; lists become JSON."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = json.dumps(value) if isinstance(value, list | tuple) else value
    return flat


def _flag(value: bool) -> str:
    return "true" if value else "false"
