"""The page of a tuning study: one HTML file that needs nothing from outside, and the same facts as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rectory.files import replacing, write_json
from rectory.reporting import tuning_plots, words
from rectory.tuning.result import Tried, Tuned


def write_tuning_page(folder: Path, tuned: Tuned) -> Path:
    """Write index.html and study.json; what the folder held of an earlier call is replaced as a whole.

    Returns:
        The page.
    """
    with replacing(folder) as scratch:
        scratch.mkdir()
        (scratch / "index.html").write_text(render_tuning_page(tuned), encoding="utf-8")
        write_json(scratch / "study.json", tuned.to_dict())
    return folder / "index.html"


def render_tuning_page(tuned: Tuned) -> str:
    """The whole page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("rectory.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": words.figure, "count": words.count, "duration": words.duration, "plain": plain}
    style = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    tried = {key: {plain(one.values.get(key)) for one in tuned.trials} for key in tuned.best.values}
    keys = [key for key in tuned.importance or tuned.best.values if len(tried[key]) > 1]
    drawn = {
        "history": tuning_plots.history(tuned),
        **({"importance": tuning_plots.importance(tuned)} if tuned.importance else {}),
    }
    return environment.get_template("tuning.html.j2").render(
        tuned=tuned,
        style=Markup(style),  # noqa: S704 - our own file
        drawn={name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704 - matplotlib escapes its texts
        by_key=[(key, Markup(tuning_plots.of_key(tuned, key))) for key in keys],  # noqa: S704 - as above
        state="promoted" if tuned.better else "kept",
        headline=headline(tuned),
        trials=ranked(tuned),
        states={state: sum(one.state == state for one in tuned.trials) for state in ("complete", "pruned", "failed")},
        seconds=sum(one.seconds for one in tuned.trials),
        snippet=snippet(tuned),
    )


def headline(tuned: Tuned) -> str:
    """The verdict in a line."""
    if not tuned.changed:
        return f"Nothing tried did better than the defaults of {tuned.candidate}"
    if tuned.better:
        return f"Better values for {tuned.candidate}, by more than noise"
    return f"The best values for {tuned.candidate} are not better than the defaults by more than noise"


def ranked(tuned: Tuned) -> list[Tried]:
    """Trials by their score; those that were ended early after the whole ones, failed ones last."""
    order = {"complete": 0, "pruned": 1}
    return sorted(tuned.trials, key=lambda one: (order.get(one.state, 2), -(one.score or 0.0), one.number))


def snippet(tuned: Tuned) -> str:
    """What --write changes in params.yaml."""
    import io

    from ruamel.yaml import YAML

    if not tuned.changed:
        return ""
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump({"train": {"candidates": {tuned.candidate: tuned.changed}}}, out)
    return out.getvalue()


def plain(value: Any) -> str:
    """A value as params.yaml would have it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(plain(one) for one in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
