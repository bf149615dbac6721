"""One drift check: what goes into drift.json, drift.html and the history."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pandas as pd

from rectory.data.card import Card, load_card
from rectory.files import read_json, read_parquet, write_json
from rectory.monitoring.behaviour import read_log
from rectory.monitoring.evidently_report import evidently_distances
from rectory.monitoring.history import append_history
from rectory.monitoring.inputs import Inputs, compare_inputs, worst
from rectory.monitoring.plan import Plan, make_plan
from rectory.monitoring.recommended import Recommended, compare_recommendations, exchange
from rectory.params import Params
from rectory.workspace import Workspace

_BASE = ["user_id", "item_id", "timestamp", "event", "value"]
_MAX_CATEGORIES = 3
# An item feature of one of these names is watched as item_<name>.
_WATCHED = {"user_activity", "new_user", "new_item", "popularity", "event", "price", "value", "hour", "weekday"}


def check_drift(params: Params, workspace: Workspace) -> dict[str, Any]:
    """Compare the newest window with what the champion was trained on; write drift.json and drift.html.

    Nothing after as_of is read: the split's rows end there.
    Returns:
        What drift.json holds.
    """
    watched = Watched(params, workspace)
    trained_until, champion = _champion(workspace)
    plan = watched.plan(trained_until)
    report = partial(evidently_distances, page=workspace.drift / "drift.html")
    inputs = compare_inputs(plan, params.drift.max_false_alarm_share, report)
    recommended = _recommended(workspace, params.dataset, watched.catalogue)
    result = _result(params, plan, inputs, recommended, champion)
    write_json(workspace.drift / "drift.json", result)
    _remember(workspace, result)
    return result


class Watched:
    """A run's log, read once, to be compared with what several champions were trained on.

    catalogue: items with an interaction.
    """

    def __init__(self, params: Params, workspace: Workspace) -> None:
        card = load_card(workspace.card(params.dataset))
        interactions = _interactions(workspace)
        self._params = params
        self._test_start = pd.Timestamp(read_json(workspace.split / "split.json")["test_start"])
        self._log = read_log(interactions, _categories(workspace, card), card.interactions.timestamp.zone)
        self.catalogue = int(interactions["item_id"].nunique())

    def plan(self, trained_until: pd.Timestamp | None) -> Plan:
        """Which windows are compared for a champion that has seen nothing from `trained_until` on."""
        settings = self._params.drift
        return make_plan(
            self._log,
            self._test_start,
            trained_until=trained_until,
            window_days=settings.window_days,
            calibration_windows=settings.calibration_windows,
            sample_rows=settings.sample_rows,
            seed=self._params.train.seed,
        )

    def since(self, trained_until: str) -> dict[str, Any]:
        """{status, moved, calibrated} of the inputs, by our own distances, which equal Evidently's; writes nothing."""
        inputs = compare_inputs(self.plan(pd.Timestamp(trained_until)), self._params.drift.max_false_alarm_share)
        moved = [str(column["column"]) for column in inputs.columns if column["status"] == "drift"]
        status = worst([column["status"] for column in inputs.columns])
        return {"status": status, "moved": moved, "calibrated": inputs.calibrated}


def _interactions(workspace: Workspace) -> pd.DataFrame:
    """Train, valid and test rows in order of time, with price if the log has one."""
    import pyarrow.parquet as pq

    paths = [workspace.split / f"{name}.parquet" for name in ("train", "valid", "test")]
    read_parquet(paths[0], ["user_id"])  # A missing or broken file is refused with its cure before pyarrow meets it.
    columns = [*_BASE, *(["price"] if "price" in pq.read_schema(paths[0]).names else [])]
    # Plain text until they stand together: each window's categories are its own.
    frames = [read_parquet(path, columns).astype({"event": object}) for path in paths]
    rows = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    return rows.astype({"event": "category"})


def _categories(workspace: Workspace, card: Card) -> dict[str, pd.Series]:
    """The first categorical item features, by the order of the card."""
    path = workspace.tables / "items.parquet"
    if card.items is None or not path.is_file():
        return {}
    names = [name for name, feature in card.items.features.items() if feature.kind == "categorical"][:_MAX_CATEGORIES]
    if not names:
        return {}
    table = read_parquet(path, ["item_id", *names]).drop_duplicates("item_id").set_index("item_id")
    return {f"item_{name}" if name in _WATCHED else name: table[name] for name in names}


def _champion(workspace: Workspace) -> tuple[pd.Timestamp | None, dict[str, Any] | None]:
    """When the champion's training ended, as the step serving or promote wrote it; None without one (`dvc repro`)."""
    if workspace.serving.is_file():
        serving = read_json(workspace.serving)
        known = serving["version"] is not None
        return (pd.Timestamp(serving["trained_until"]).tz_convert("UTC"), serving) if known else (None, None)
    if not workspace.decision.is_file():
        return None, None
    decision = read_json(workspace.decision)
    # The one that served during the newest window, if this run has replaced it.
    seated = [decision.get(key) for key in ("champion_before", "champion")]
    champion = next((one for one in seated if isinstance(one, dict)), None)
    if champion is None:
        return None, None
    until = champion.get("trained_until")
    moment = None if until is None else pd.Timestamp(until)
    if moment is not None:
        moment = moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")
    return moment, {key: champion.get(key) for key in ("name", "version", "trained_until")}


def _recommended(workspace: Workspace, dataset: str, catalogue: int) -> Recommended:
    if not workspace.scores.is_file():
        return Recommended([], ["No scores in this run: recommendations were not compared."])
    columns = ["user_id", "rank", "item_id", "score", "model_version", "as_of"]
    scores = read_parquet(workspace.scores, columns)
    if scores.empty:
        return Recommended([], ["The scores of this run are empty: recommendations were not compared."])
    previous = exchange(scores, workspace.kept_scores(dataset), workspace.lock(f"scores-{dataset}"))
    return compare_recommendations(scores, previous, catalogue)


def _result(
    params: Params, plan: Plan, inputs: Inputs, recommended: Recommended, champion: dict[str, Any] | None
) -> dict[str, Any]:
    columns = [{"group": "inputs", **column} for column in inputs.columns] + recommended.columns
    (start, end), (reference_start, reference_end) = plan.moments((0,)), plan.moments(plan.reference)
    return {
        "dataset": params.dataset,
        "status": worst([column["status"] for column in columns]),
        "columns": columns,
        "reasons": [column["text"] for column in columns if column["status"] != "ok"],
        "notes": [*plan.notes, *recommended.notes],
        "calibrated": inputs.calibrated,
        "calibration": {
            "windows": inputs.windows,
            "max_false_alarm_share": params.drift.max_false_alarm_share,
            "past_alarm_share": inputs.quiet,
        },
        "current": {"start": start, "end": end, "rows": inputs.current.rows, "users": inputs.current.users},
        "reference": {
            "start": reference_start,
            "end": reference_end,
            "rows": inputs.reference.rows,
            "users": inputs.reference.users,
            "windows": len(plan.reference),
        },
        "sample_rows": params.drift.sample_rows,
        "champion": champion,
        "as_of": end,
    }


def _remember(workspace: Workspace, result: dict[str, Any]) -> None:
    line = {
        "checked_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": workspace.root.resolve().name,
        **{key: result[key] for key in ("dataset", "as_of", "status", "calibrated", "reasons", "champion")},
        "columns": {
            column["column"]: {key: column[key] for key in ("distance", "threshold", "status")}
            for column in result["columns"]
        },
    }
    append_history(workspace.drift_history, workspace.lock("drift-history"), line)
