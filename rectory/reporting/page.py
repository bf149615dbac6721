"""The page that people read: one HTML file that needs nothing from outside."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rectory.files import sha256_file
from rectory.models.warm_start import told
from rectory.params import dump_params
from rectory.reporting import plots, views, words
from rectory.reporting.inputs import Facts, Inputs
from rectory.reporting.samples import SampleUser
from rectory.reporting.shape import LogShape, log_shape
from rectory.reporting.summary import CandidateSummary, Summary, finite

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_TAKEN = 12
SECTIONS = (
    ("data", "Data"),
    ("candidates", "Candidates"),
    ("decision", "Decision"),
    ("behaviour", "Behaviour"),
    ("slices", "Slices"),
    ("learning", "Learning"),
    ("drift", "Drift"),
    ("samples", "Samples"),
    ("lineage", "Lineage"),
    ("timings", "Time"),
)


def render_page(summary: Summary, inputs: Inputs, samples: Sequence[SampleUser] = (), samples_note: str = "") -> str:
    """The whole page as text.

    Args:
        summary: what `summary.json` holds.
        inputs: the run's files.
        samples: users to show; none: the section says why, in `samples_note`'s words.
        samples_note: whose lists they are.
    """
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            summary=summary,
            sections=SECTIONS,
            style=_style(),
            state=words.verdict(summary),
            headline=words.headline(summary),
            samples=samples,
            samples_note=samples_note,
            most_taken=MOST_TAKEN,
            drift_table=views.drift_table(summary),
            drift_page=(inputs.workspace.drift / "drift.html").is_file(),
            timing_table=views.timing_table(inputs),
            lineage=_lineage(summary, inputs),
            reproduce=_reproduce(summary),
            params_yaml=params_yaml(inputs),
            **_data(inputs),
            **_candidates(summary),
            **_learning(inputs),
        )
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Titles, ids, reasons and file names come from other people's data: everything is escaped unless marked here.
    environment = Environment(
        loader=PackageLoader("rectory.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": words.figure,
        "count": words.count,
        "duration": words.duration,
        "moment": words.moment,
        "short_hash": words.short_hash,
        "plain": _plain,
    }
    environment.tests["spread"] = words.spread
    environment.globals["share"] = words.share
    return environment


def _style() -> Any:
    from markupsafe import Markup

    text = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - our own file


def standalone(svg: str) -> str:
    """An inline plot as a file of its own: the page's light colours, a background, a font."""
    palette = dict(re.findall(r"(--[a-z0-9-]+):\s*(#[0-9a-f]{6})", str(_style()).partition("@media")[0]))
    drawn = re.sub(r"var\((--[a-z0-9-]+)\)", lambda match: palette[match.group(1)], svg)
    opening = (
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, Segoe UI, Roboto, Noto Sans, sans-serif" '
        f'style="background: {palette["--card"]}" '
    )
    return re.sub(r"^<svg (viewBox=\"[^\"]+\").*?>", rf"{opening}\1>", drawn, count=1) + "\n"


def _drawn(svg: str) -> Any:
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704 - matplotlib escapes the texts that it draws


def _plain(value: Any) -> str:
    """Any value of a check or a fit, short."""
    if value is None or value in ([], {}):
        return words.DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        value = [f"{key} {_plain(one)}" for key, one in value.items()]
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _data(inputs: Inputs) -> Facts:
    validation = inputs.validation or {}
    interactions = inputs.workspace.tables / "interactions.parquet"
    shape = log_shape(interactions) if interactions.exists() else None
    drawn = {}
    if shape:
        drawn = {
            "events": _drawn(plots.events_over_time(shape, _windows(inputs.split))),
            "tail": _drawn(plots.long_tail(shape)),
            "activity": _drawn(plots.activity(shape)),
        }
    return {
        "validation": validation,
        "row_table": views.row_table(validation),
        "reason_table": views.reason_table(validation),
        "log_facts": _log_facts(validation.get("summary", {}), shape),
        "quarantine": _link(inputs.workspace.quarantine, inputs.workspace.reports / "latest"),
        "shape": shape,
        "data_plots": drawn,
        "words": _words(shape, inputs.split) | {"scatter": _SCATTER_WORDS},
    }


_SCATTER_WORDS = (
    "Up is better for the users of the test window (with the 95% interval), right shows more of the catalogue to "
    "somebody. On the stairs (the Pareto front) stand those that nobody beats in both. The star is the champion, "
    "squares are baselines."
)


def _words(shape: LogShape | None, split: Facts | None) -> dict[str, str]:
    if shape is None:
        return {}
    length = "day" if shape.bin_days == 1 else f"{shape.bin_days:.3g} days"
    first, last = (str(moment)[:10] for moment in (shape.starts[0], shape.starts[-1]))
    top = f"{100 * shape.top_fifth_share:.0f}%"
    windows = " Shaded: the windows that validate and test the models." if split else ""
    return {
        "events": f"Rows for each {length} from {first} to {last}.{windows}",
        "tail": f"{shape.n_items:,} items; the most popular fifth of them has {top} of the rows.",
        "activity": f"{shape.n_users:,} users have {shape.n_rows / shape.n_users:,.1f} rows each on average.",
    }


def _windows(split: Facts | None) -> list[tuple[str, str, str]]:
    if not split:
        return []
    return [
        ("valid", str(split["valid_start"]), str(split["test_start"])),
        ("test", str(split["test_start"]), str(split["test_end"])),
    ]


def _log_facts(facts: Facts, shape: LogShape | None) -> list[tuple[str, str]]:
    """Figures of the kept log; events by their share."""
    found: list[tuple[str, str]] = []
    for name in ("users", "items", "interactions"):
        value = facts.get(name, getattr(shape, "n_rows" if name == "interactions" else f"n_{name}", None))
        if value is not None:
            found.append((name.capitalize(), words.count(value)))
    found += [
        (title, words.moment(facts[key])) for key, title in (("first", "First"), ("last", "Last")) if facts.get(key)
    ]
    if facts.get("rows_per_day") is not None:
        found.append(("Rows a day", words.count(facts["rows_per_day"])))
    if facts.get("repeat_share") is not None:
        found.append(("Repeats", words.share(facts["repeat_share"], 1)))
    events = facts.get("events") or {}
    if len(events) > 1:
        whole = sum(events.values())
        mix = sorted(events.items(), key=lambda entry: -entry[1])[:6]
        found.append(("Events", ", ".join(f"{event} {words.share(number, whole)}" for event, number in mix)))
    return found


def _candidates(summary: Summary) -> Facts:
    points = views.trade_off_points(summary)
    drawn = {"scatter": _drawn(plots.accuracy_against_coverage(points, summary.metric))} if points else {}
    tables = views.metric_tables(summary)
    families = dict.fromkeys(metric.partition("@")[0] for table in tables for metric in table["metrics"])
    groups = views.slice_groups(summary)
    return {
        "forest": views.forest(summary),
        "metric_tables": tables,
        "metric_meaning": words.explain_metric(summary.metric),
        "glossary": [(name, words.explain_metric(name)) for name in families if words.explain_metric(name)],
        "slice_groups": [group for group in groups if not group["declared"]],
        "attribute_groups": [group for group in groups if group["declared"]],
        "gap_table": views.gap_table(summary),
        "gap_of": words.winner(summary) or next((name for name, _ in words.ranked(summary)), None),
        "behaviour": views.behaviour_table(summary),
        "has_rules": any(rule.rule for rule in summary.decision.rules),
        "candidate_plots": drawn,
    }


def _learning(inputs: Inputs) -> Facts:
    curves = []
    for name, fit in inputs.fits.items():
        rows = [row for row in fit.get("curve", []) if finite(row.get("score")) is not None]
        if len(rows) > 1:
            tries = len(rows)
            curves.append(
                {
                    "name": name,
                    "svg": _drawn(plots.learning_curves(name, rows, str(fit.get("metric", "score")))),
                    "words": f"{tries} measurements; the best is {max(row['score'] for row in rows):.4f}.",
                }
            )
    fits = [
        (
            name,
            {
                "score": finite(fit.get("score")),
                "metric": fit.get("metric", ""),
                "chosen": list(fit.get("chosen", {}).items()),
                "notes": told(fit),
            },
        )
        for name, fit in inputs.fits.items()
    ]
    return {"curves": curves, "fits": fits}


def _lineage(summary: Summary, inputs: Inputs) -> list[tuple[str, Any]]:
    registered, lock = inputs.registered or {}, inputs.workspace.lock_file
    split = inputs.split or {}
    return [
        ("Data hash", summary.snapshot.hash),
        ("Lineage key", summary.lineage_key),
        ("Continued", ", ".join(_chain(name, one) for name, one in summary.candidates.items() if one.chain) or None),
        ("Code commit", _commit()),
        ("Lock file", sha256_file(lock) if lock.is_file() else None),
        ("Source", (inputs.source or {}).get("fingerprint")),
        ("Seed", inputs.params.train.seed),
        ("Windows", " | ".join(words.moment(split.get(f"{name}_start")) for name in ("train", "valid", "test"))),
        ("Registered", ", ".join(f"{n} v{c.version}" for n, c in summary.candidates.items() if c.version)),
        ("Experiment", registered.get("experiment")),
        ("Run", summary.run_id),
    ]


def _chain(name: str, candidate: CandidateSummary) -> str:
    """`blend v12 from v10, v11`."""
    return f"{name} v{candidate.version} from {', '.join(f'v{number}' for number in candidate.chain)}"


def _commit() -> str | None:
    from rectory.registry.environment import checkout

    found = checkout()
    return f"{found.commit}{', with changes since' if found.dirty else ''}" if found.commit else None


def _reproduce(summary: Summary) -> str:
    champion = summary.decision.champion
    version = f" {champion.version}" if champion and champion.version else ""
    return f"rectory reproduce{version}"


def params_yaml(inputs: Inputs) -> str:
    """The run's parameters with every default filled in."""
    import io

    from ruamel.yaml import YAML

    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(dump_params(inputs.params), out)
    return out.getvalue()


def _link(target: Path, folder: Path) -> str | None:
    """Relative, so that a project folder can move; reports/<run id> and reports/latest lie equally deep."""
    return Path(os.path.relpath(target, folder)).as_posix() if target.is_file() else None
