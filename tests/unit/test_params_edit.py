"""params.yaml with new values: the rest of the file is what it was, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectory.errors import ParamsError
from rectory.params import load_params
from rectory.params.edit import set_values

ROOT = Path(__file__).parents[2]
SECTION = "train.candidates.lightfm_hybrid"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    copy = tmp_path / "params.yaml"
    copy.write_bytes((ROOT / "params.yaml").read_bytes())
    return copy


def changed_lines(path: Path) -> list[tuple[str, str]]:
    before = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    after = path.read_text(encoding="utf-8").splitlines()
    assert len(before) == len(after)
    return [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]


def test_only_the_lines_of_the_changed_keys_differ(path: Path) -> None:
    section = load_params(path).train.candidates["lightfm_hybrid"].model_dump()
    values = {"components": 77, "learning_rate": 0.0437, "item_alpha": 1e-05, "use_user_features": False}
    set_values(path, SECTION, values)
    changed = changed_lines(path)
    assert [new for _, new in changed] == [
        "components: 77",
        "learning_rate: 0.0437",
        "item_alpha: 1.0e-05",
        "use_user_features: false",
    ]
    now = load_params(path).train.candidates["lightfm_hybrid"].model_dump()
    assert now == {**section, **values}


def test_writing_what_is_there_changes_nothing(path: Path) -> None:
    kept = load_params(path).train.candidates["lightfm_hybrid"]
    set_values(path, SECTION, {"components": kept.components, "loss": kept.loss})
    assert path.read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_lists_and_null_are_written_on_their_line(path: Path) -> None:
    set_values(path, SECTION, {"half_lives_days": [3.0, None]})
    assert [new for _, new in changed_lines(path)] == ["half_lives_days: [3.0, null]"]


MINE = """\
# On top.
dataset: shop   # which one
as_of:

train:
  # All of them.
  candidates:
    mine:   # this one
        kind: personal_frequency
        # Between.
        popularity_window_days: 28.0   # four weeks
        half_lives_days:
          - null   # forever
          - 30
    # Below.
    other: {kind: popularity, windows_days: [1, 2], baseline: yes}
"""


@pytest.mark.parametrize(
    ("section", "values", "old", "new"),
    [
        ("mine", {"popularity_window_days": 7.0}, "28.0 ", "7.0 "),
        ("mine", {"popularity_window_days": None}, "28.0 ", "null "),
        ("mine", {"baseline": True}, "- 30\n", "- 30\n        baseline: true\n"),
        ("mine", {"half_lives_days": [3.0, None]}, "\n          - null   # forever\n          - 30", " [3.0, null]"),
        ("other", {"windows_days": [9.0]}, "[1, 2]", "[9.0]"),
        ("other", {"half_lives_days": [9.0]}, "yes}", "yes, half_lives_days: [9.0]}"),
    ],
)
def test_everything_else_stays_to_the_letter(tmp_path: Path, section: str, values: dict, old: str, new: str) -> None:
    path, text = tmp_path / "params.yaml", MINE.replace("yes", "true")
    path.write_text(text, encoding="utf-8")
    set_values(path, f"train.candidates.{section}", values)
    assert path.read_text(encoding="utf-8") == text.replace(old.replace("yes", "true"), new.replace("yes", "true"))


def test_what_an_anchor_shares_is_not_edited(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        "dataset: shop\ntrain:\n  candidates:\n"
        "    a: {kind: popularity, windows_days: &w [1]}\n    b: {kind: popularity, windows_days: *w}\n",
        encoding="utf-8",
    )
    with pytest.raises(ParamsError, match="by hand"):
        set_values(path, "train.candidates.b", {"windows_days": [2.0]})


def test_a_key_that_was_not_written_is_added_to_its_section(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    head = "dataset: shop\ntrain:\n  candidates:\n    a:\n      kind: personal_frequency\n"
    path.write_text(head + "    b:\n      kind: popularity\n", encoding="utf-8")
    set_values(path, "train.candidates.a", {"popularity_window_days": None})
    assert path.read_text(encoding="utf-8") == (
        head + "      popularity_window_days: null\n    b:\n      kind: popularity\n"
    )


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("train.candidates.nobody", {"components": 8}, "no section"),
        (SECTION, {"components": 2}, "components"),
        (SECTION, {"nonsense": 2}, "nonsense"),
    ],
)
def test_what_cannot_be_written_leaves_the_file_alone(path: Path, section: str, values: dict, words: str) -> None:
    before = path.read_bytes()
    with pytest.raises(ParamsError, match=words):
        set_values(path, section, values)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
