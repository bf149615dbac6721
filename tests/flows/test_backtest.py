"""`rectory backtest` on the shop: killed and gone on with, and on a log whose future is another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.local_server import prefect_server
from rectory.files import read_parquet
from rectory.workspace import Workspace
from tests.flows.conftest import Installation
from tests.shop import make_project
from tests.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.server]

DATES = ["2025-02-20", "2025-02-27", "2025-03-06"]
COMMAND = [
    "backtest", "--from", DATES[0], "--to", "2025-03-13", "--every", "7d", "--policies", "never,gate,gate+refit",
    "--candidates", "popularity_recent,personal_frequency",
]  # fmt: skip


class Machine:
    """A shop's backtests on one Prefect server."""

    def __init__(self, folder: Path, url: str) -> None:
        self.shop = Installation(make_project(folder))
        self.env = {"PREFECT_API_URL": url, "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(self, *more: str) -> Any:
        done = self.shop.run(sys.executable, "-m", "cli.main", *COMMAND, "--json", *more, env=self.env)
        return json.loads(done.stdout)

    def killed(self, after: str) -> None:
        """Run until a piece of work is noted, then kill -9."""
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *COMMAND],
            cwd=self.shop.folder,
            env={**os.environ, **self.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def noted() -> bool:
            assert process.poll() is None, f"ended with {process.returncode}"
            return bool(list(self.shop.folder.glob(f"runs/backtest-*/dates/{after}")))

        until(noted, f"{after} is noted", 300)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def notes(self) -> dict[str, int]:
        """Every finished piece and when it was noted."""
        root = self.shop.folder / "runs"
        return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.glob("*/*/*/done/*.json")}

    def report(self, summary: Any) -> Path:
        return self.shop.folder / "reports" / f"backtest-{summary['id']}"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("backtest")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        with prefect_server(Workspace(folder, folder)) as url:
            yield Machine(folder / "project", url)


@pytest.fixture(scope="module")
def resumed(machine: Machine) -> tuple[dict[str, int], dict[str, int], Any]:
    """Pieces that a killed backtest had finished, all pieces after it went on, and the summary."""
    machine.killed(after=f"{DATES[0]}/done/evaluate-personal_frequency.json")
    before = machine.notes()
    summary = machine.run()
    return before, machine.notes(), summary


def test_a_killed_backtest_goes_on_where_it_was(resumed: tuple[dict[str, int], dict[str, int], Any]) -> None:
    before, after, summary = resumed
    assert len(before) >= 3
    assert {piece: after[piece] for piece in before} == before, "finished pieces were made again"
    assert len(after) > len(before)
    assert list(summary["dates"]) == DATES


def test_fits_are_shared_by_all_policies(resumed: tuple[dict[str, int], dict[str, int], Any]) -> None:
    _, after, summary = resumed
    fits = [piece for piece in after if "/done/train-" in piece]
    assert len(fits) == len(DATES) * 2
    spent = {name: policy["spent"] for name, policy in summary["policies"].items()}
    assert {name: (one["fits"], one["refits"]) for name, one in spent.items()} == {
        "never": (2, 0), "gate": (6, 0), "gate+refit": (6, 3),
    }  # fmt: skip
    assert spent["gate"]["fit_seconds"] == pytest.approx(
        sum(seconds for date in summary["fit_seconds"].values() for seconds in date.values())
    )


def test_page_parquet_and_summary_tell_the_same(machine: Machine, resumed: tuple[Any, Any, Any]) -> None:
    summary = resumed[2]
    report = machine.report(summary)
    users = read_parquet(report / "users.parquet")
    assert set(users["policy"]) == {"never", "gate", "gate+refit"}
    means = users.groupby("policy")[summary["metric"]].mean()
    for name, policy in summary["policies"].items():
        assert policy["quality"]["value"] == pytest.approx(means[name])
        assert policy["quality"]["low"] <= means[name] <= policy["quality"]["high"]
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert summary["headline"] in page


def test_nothing_is_done_twice_and_other_rules_of_the_gate_train_nothing(
    machine: Machine, resumed: tuple[dict[str, int], dict[str, int], Any]
) -> None:
    _, before, summary = resumed
    strict = machine.run("--set", "gate.max_refresh_loss=null", "--set", "gate.min_gain=0.9")
    after = machine.notes()
    fits = {piece: when for piece, when in before.items() if "/dates/" in piece and "refit" not in piece}
    assert {piece: after[piece] for piece in fits} == fits
    assert strict["id"] != summary["id"]
    assert strict["policies"]["gate"]["promotions"] == 0


def test_what_comes_after_a_date_changes_nothing_that_was_decided_on_it(
    machine: Machine, resumed: tuple[dict[str, int], dict[str, int], Any]
) -> None:
    """All rows after the second date now name other items: the first two dates keep their fits and their decisions."""
    _, before, summary = resumed
    log = machine.shop.folder / "exports" / "sales.csv"
    sales = pd.read_csv(log, dtype=str)
    later = pd.to_datetime(sales["at"], errors="coerce", utc=True, format="ISO8601") > pd.Timestamp(DATES[1], tz="UTC")
    sales.loc[later, "sku"] = sales.loc[later, "sku"].to_numpy()[::-1]
    sales.to_csv(log, index=False)
    other = machine.run()
    after = machine.notes()

    def fits(notes: dict[str, int], date: str) -> dict[str, int]:
        return {piece: when for piece, when in notes.items() if f"/{date}/done/train-" in piece}

    for date in DATES[:2]:
        assert fits(after, date) == fits(before, date), "was fitted again"
    assert fits(after, DATES[2]).keys() == fits(before, DATES[2]).keys()
    assert all(when > fits(before, DATES[2])[piece] for piece, when in fits(after, DATES[2]).items())
    for name, policy in other["policies"].items():
        was = summary["policies"][name]["turns"]
        for now, then in zip(policy["turns"][:2], was[:2], strict=True):
            decided = ("seat", "model", "challenger", "promoted", "drift")
            assert {key: now[key] for key in decided} == {key: then[key] for key in decided}
    by_date = {name: summary["policies"][name]["by_date"] for name in other["policies"]}
    assert other["policies"]["never"]["by_date"][DATES[0]] == by_date["never"][DATES[0]]
    assert other["policies"]["never"]["by_date"][DATES[1]] != by_date["never"][DATES[1]]


def test_wrong_use_is_told_before_anything_starts(machine: Machine) -> None:
    for arguments, words in (
        (["--policies", "sometimes"], "on_drift"),
        (["--every", "fortnight"], "length of time"),
        (["--dataset", "nowhere"], "nowhere"),
    ):
        done = machine.shop.run(sys.executable, "-m", "cli.main", *COMMAND, *arguments, code=2, env=machine.env)
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_window_beyond_the_end_of_the_log_is_refused(machine: Machine) -> None:
    command = [*COMMAND[:3], "--to", "2025-05-01", *COMMAND[5:]]
    done = machine.shop.run(sys.executable, "-m", "cli.main", *command, code=2, env=machine.env)
    assert "the log ends at" in done.stderr
