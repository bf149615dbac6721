"""From a finished backtest to reports/backtest-<id>/: index.html, summary.json, users.parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rectory.files import replacing, write_json, write_parquet
from rectory.params import Params
from rectory.registry.served import Served
from rectory.reporting.backtest_page import render_backtest
from rectory.reporting.backtest_summary import read_played, summarise, user_metrics
from rectory.workspace import Backtest, Workspace


def write_backtest_report(
    params: Params,
    backtest: Backtest,
    plan: Workspace,
    served: Mapping[str, Mapping[str, Served]],
    project: Workspace,
) -> Path:
    """Count, draw and write; what an equal backtest had written is replaced as a whole.

    Args:
        plan: workspace of the comparison; its name is the backtest's id.
        served: policy -> date -> model.
    Returns:
        The folder.
    """
    played = read_played(params, backtest, plan, served)
    users = user_metrics(played)
    summary = summarise(played, users, plan.root.name)
    page = render_backtest(summary)
    target = project.reports / f"backtest-{plan.root.name}"
    with replacing(target) as scratch:
        scratch.mkdir(parents=True)
        (scratch / "index.html").write_text(page, encoding="utf-8")
        write_json(scratch / "summary.json", summary)
        write_parquet(users, scratch / "users.parquet")
    return target
