"""params.yaml: typed, frozen, no unknown keys, errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectory.errors import ParamsError
from rectory.params import dump_params, load_params, parse_params

ROOT = Path(__file__).parents[2]


def test_the_shipped_file_loads_and_round_trips() -> None:
    params = load_params(ROOT / "params.yaml")
    assert parse_params(dump_params(params), "dump") == params


def test_overrides_are_typed_by_yaml() -> None:
    params = load_params(ROOT / "params.yaml", ["split.test_days=28", "evaluate.k=[5]", "gate.metric=ndcg@5"])
    assert params.split.test_days == 28.0
    assert params.evaluate.k == (5,)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("split.nonsense=1", "split.nonsense"),
        ("split.test_share=0.9", "split.test_share"),
        ("train.candidates.x={kind: nonsense}", "train.candidates.x"),
        ("train.candidates.lightfm_hybrid.components=3", "components"),
        ("train.candidates={}", "at least one candidate"),
        ("gate.metric=ndcg@7", "ndcg@10"),
        ("dataset.x=1", "not a section"),
        ("nonsense", "section.key=value"),
        ("split.test_days=[", "not YAML"),
    ],
)
def test_wrong_values_are_named(override: str, named: str) -> None:
    with pytest.raises(ParamsError, match=named.replace(".", r"\.")):
        load_params(ROOT / "params.yaml", [override])


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"(?s)split\.test_share.*score\.k"):
        load_params(ROOT / "params.yaml", ["split.test_share=2", "score.k=0"])


@pytest.mark.parametrize(("text", "named"), [("a: [", "not YAML"), ("- 1", "mapping"), ("{}", "dataset")])
def test_a_broken_file_is_told_apart(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=named):
        load_params(path)


def test_a_missing_file_says_where_to_stand(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="--project"):
        load_params(tmp_path / "params.yaml")


def test_as_of_without_a_zone_is_utc_and_with_one_is_turned() -> None:
    naive = load_params(ROOT / "params.yaml", ["as_of=2017-09-01T00:00:00"])
    zoned = load_params(ROOT / "params.yaml", ["as_of=2017-09-01T02:00:00+02:00"])
    assert naive.as_of == zoned.as_of
