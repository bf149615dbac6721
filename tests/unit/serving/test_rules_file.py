"""Rules change with the file, faults change nothing, each change stands in the audit log once."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectory.registry import audit
from rectory.serving.rules_file import CHANGED, RulesFile
from rectory.workspace import Workspace


def write(project: Path, text: str) -> Workspace:
    workspace = Workspace(project, project)
    workspace.params_file.write_text(text, encoding="utf-8")
    return workspace


def changes(workspace: Workspace) -> list[dict[str, object]]:
    return [line["rules"] for line in audit.read(workspace) if line["event"] == CHANGED]


def test_a_change_is_in_force_and_audited_once_however_many_look(tmp_path: Path) -> None:
    workspace = write(tmp_path, "dataset: shop\n")
    first, second = RulesFile(workspace), RulesFile(workspace)
    assert first.rules.idle and not changes(workspace)
    write(tmp_path, "rules:\n  caps: {brand: 2}\n")
    for one in (first, second, first):
        one.look()
        assert one.rules.params.caps == {"brand": 2}
    assert changes(workspace) == [{"caps": {"brand": 2}}]
    write(tmp_path, "rules: {}\n")
    second.look()
    assert second.rules.idle and changes(workspace) == [{"caps": {"brand": 2}}, {}]


@pytest.mark.parametrize(
    ("text", "says"),
    [("rules:\n  caps: {brand: 0}\n", "caps.brand"), ("rules: [\n", "cannot be read"), ("rules:\n  pin: []\n", "pin")],
)
def test_a_fault_leaves_the_rules_that_were_in_force(tmp_path: Path, text: str, says: str) -> None:
    workspace = write(tmp_path, "rules:\n  diversity: 0.3\n")
    rules = RulesFile(workspace)
    write(tmp_path, text)
    rules.look()
    assert rules.rules.params.diversity == 0.3 and rules.fault is not None and says in rules.fault
    write(tmp_path, "rules:\n  diversity: 0.4\n")
    rules.look()
    assert rules.rules.params.diversity == 0.4 and rules.fault is None


def test_a_fault_in_another_section_is_no_matter_of_serving(tmp_path: Path) -> None:
    rules = RulesFile(write(tmp_path, "nonsense: 1\nrules:\n  diversity: 0.2\n"))
    assert rules.rules.params.diversity == 0.2
