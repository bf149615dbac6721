"""A warm start for one more day against the full fit that the run made, for each candidate that knows warm starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rectory.data.card import load_card
from rectory.errors import RectoryError
from rectory.evaluation.compare import compare
from rectory.evaluation.holdout import evaluate
from rectory.evaluation.relevance import Window, load_window
from rectory.features.training_set import SECONDS_PER_DAY, TrainingSet
from rectory.files import read_json
from rectory.metrics.bootstrap import Interval
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build, model_class
from rectory.models.protocol import SupportsWarmStart
from rectory.models.warm_start import Parent, Plan, lay_out
from rectory.params import Params
from rectory.workspace import Workspace

AIM_WARM_RATIO = 0.20
AIM_LOSS = 0.01
_DAYS = 1.0


@dataclass(frozen=True)
class WarmStart:
    """CPU seconds and peak memory of the step `train`, as the run itself measures them, and what the models are worth.

    refit_seconds: CPU seconds of the fit alone, without search, reading and writing, on the rows of the day before.
    full, warm: the metric on the test window. gain: warm / full - 1, paired over users, with its interval.
    """

    candidate: str
    rows: int
    new_rows: int
    full_seconds: float
    refit_seconds: float
    warm_seconds: float
    full_peak_mb: float
    warm_peak_mb: float
    metric: str
    full: float
    warm: float
    gain: Interval

    @property
    def ratio(self) -> float:
        return self.warm_seconds / self.full_seconds

    @property
    def met(self) -> bool:
        """Seconds and the mean, both."""
        return self.ratio <= AIM_WARM_RATIO and self.gain.value >= -AIM_LOSS


def compare_warm_starts(params: Params, run: Workspace, say: Callable[[str], None]) -> list[WarmStart]:
    """Each candidate as it was a day earlier, continued by the very step that a nightly run takes.

    Args:
        params: of the run. run: its workspace, every step done.
    """
    train = TrainingSet.load(run.features)
    window = load_window(run, load_card(run.card(params.dataset)), params)
    warm = [name for name, one in params.train.candidates.items() if _knows(one.kind)]
    return [_compare(name, params, run, (train, window), say) for name in warm]


def _knows(kind: str) -> bool:
    return issubclass(model_class(kind), SupportsWarmStart)


def _compare(
    name: str, params: Params, run: Workspace, log: tuple[TrainingSet, Window], say: Callable[[str], None]
) -> WarmStart:
    train, window = log
    candidate, day = params.train.candidates[name], _DAYS * SECONDS_PER_DAY
    before = train.until(train.end - day, train.validation_start - day)
    say(f"{name} as it was a day earlier")
    began = time.process_time()
    chosen = read_json(run.fit_report(name))["chosen"]
    model = build(candidate, params.train.seed, params.train.validation_users).refit(before, chosen)
    refit_seconds = time.process_time() - began
    with tempfile.TemporaryDirectory(prefix="rectory-bench-warm-") as folder:
        parent = Bundle.of(name, candidate.kind, model, before, titles=None, dataset=params.dataset)
        parent.save(Path(folder) / "parent")
        night = Workspace(Path(folder) / "night", run.project)
        _copy(run, night)
        plan = Plan(Parent("1", "", ("1",), parent.trained_until, True))
        lay_out(night.parent(name), plan, Path(folder) / "parent", run.fit_report(name))
        say(f"{name}, a day more from there")
        _train(name, run, night)
        of_warm = evaluate(Bundle.load(night.model(name)), window, params.evaluate)
        cost = read_json(night.timing(f"train-{name}"))
    of_full = evaluate(Bundle.load(run.model(name)), window, params.evaluate)
    full_cost, metric = read_json(run.timing(f"train-{name}")), params.gate.metric
    gain = compare(of_warm.per_user, of_full.per_user, metric, params.evaluate).overall
    assert gain.relative is not None
    say(f"{name}: {cost['cpu_seconds']:.1f} s against {full_cost['cpu_seconds']:.1f} s, {gain.relative.value:+.2%}")
    return WarmStart(
        candidate=name,
        rows=len(train.time),
        new_rows=len(train.time) - len(before.time),
        full_seconds=full_cost["cpu_seconds"],
        refit_seconds=refit_seconds,
        warm_seconds=cost["cpu_seconds"],
        full_peak_mb=full_cost["peak_memory_mb"],
        warm_peak_mb=cost["peak_memory_mb"],
        metric=metric,
        full=of_full.metrics[metric].value,
        warm=of_warm.metrics[metric].value,
        gain=gain.relative,
    )


def _copy(run: Workspace, night: Workspace) -> None:
    """What the step train reads."""
    for source, target in ((run.features, night.features), (run.tables, night.tables)):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target)


def _train(candidate: str, run: Workspace, night: Workspace) -> None:
    command = [sys.executable, "-m", "tasks.train", candidate, "--workspace", str(night.root.resolve())]
    command += ["--project", str(run.project.resolve()), "--params", str((run.root / "params.yaml").resolve())]
    source = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RectoryError(f"the warm start of {candidate} failed: {done.stderr.strip().splitlines()[-1]}")
    start = read_json(night.fit_report(candidate))["start"]
    if not start.startswith("Continued"):
        raise RectoryError(f"{candidate} was not continued: {start}")
