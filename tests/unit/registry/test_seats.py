"""Champion, previous, challenger: moved in one step, kept for each data set, written down."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rectory.errors import UsageError
from rectory.registry import audit
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests.unit.registry.conftest import Bench


def seats(store: ModelStore) -> dict[str, str]:
    return {name: version for name, version in store.aliases().items() if "-" not in name}


def test_promotion_keeps_the_former_champion_and_rollback_seats_it_again(bench: Bench) -> None:
    one, two = bench.register(), bench.register(data="cd34.dir")
    bench.store.promote(one, "first", by="test")
    assert seats(bench.store) == {"champion": "1"}
    with pytest.raises(UsageError, match="no previous champion"):
        bench.store.rollback()
    bench.store.promote(two, "better", by="test")
    assert seats(bench.store) == {"champion": "2", "previous": "1"}
    bench.store.promote(two, "again", by="test")
    assert seats(bench.store) == {"champion": "2", "previous": "1"}
    assert bench.store.rollback(reason="it sells worse", by="test").version == "1"
    assert seats(bench.store) == {"champion": "1", "previous": "2"}
    assert bench.store.rollback(to="2").version == "2"
    lines = audit.read(bench.workspace)
    assert [(line["event"], line["version"]) for line in lines] == [
        ("promoted", "1"),
        ("promoted", "2"),
        ("promoted", "2"),
        ("rolled back", "1"),
        ("rolled back", "2"),
    ]
    assert lines[3]["reason"] == "it sells worse" and lines[3]["replaces"] == "2"


def test_going_back_to_a_data_set_finds_its_champion_again(bench: Bench) -> None:
    shop, shop_new = bench.register(), bench.register(data="cd34.dir")
    bench.store.promote(shop, "first", by="test")
    bench.store.promote(shop_new, "second", by="test")
    assert not bench.store.seat_champion_of("films.v2")
    films = bench.register(dataset="films.v2")
    bench.store.promote(films, "other data", by="test")
    assert seats(bench.store) == {"champion": films.version}
    champion = bench.store.champion("shop")
    assert champion is not None and champion.version == shop_new.version
    with pytest.raises(UsageError, match="no previous champion"):
        bench.store.rollback()
    assert bench.store.seat_champion_of("shop")
    assert seats(bench.store) == {"champion": shop_new.version, "previous": shop.version}
    assert audit.read(bench.workspace, 1)[0]["event"] == "seated"
    assert bench.store.rollback().version == shop.version


def test_a_decision_is_kept_with_its_version_and_not_wiped_by_a_later_already_champion(bench: Bench) -> None:
    version = bench.register("personal_frequency")
    yes = {"promoted": True, "reasons": [{"rule": "gain", "passed": True, "text": "enough"}], "run_id": "first"}
    bench.store.record_decision(version, yes)
    bench.store.promote(version, "enough", by="gate")
    bench.store.record_decision(version, {"promoted": False, "reasons": [{"text": "is champion"}], "run_id": "second"})
    champion = bench.store.champion()
    assert champion is not None
    assert (champion.tags["decision"], champion.tags["decision_reasons"]) == ("promoted", "enough")
    status = bench.store.status()
    assert status["champion"]["name"] == "personal_frequency" and "ndcg@10" in status["champion"]["metrics"]
    assert [line["event"] for line in status["last_decisions"]] == ["judged", "promoted", "judged"]
    assert status["data"]["hash"] == "ab12.dir" and status["previous"] is None


# Forks after the slow imports: a child for each death, killed right before its nth move of an alias.
_PROMOTE_AND_DIE = """
import os, signal, sys
from pathlib import Path
import alembic.command
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
import rectory.models.popularity
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
project = Path(sys.argv[1])
for deaths in (1, 2, 3, 4):
    child = os.fork()
    if child == 0:
        store = ModelStore(Workspace(project, project))
        real, calls = store.connection.call, 0
        def call(work, what):
            global calls
            calls += what.startswith("move the alias")
            if calls == deaths and what.startswith("move the alias"):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(work, what)
        store.connection.call = call
        store.promote(store.version("2"), "better", by="test")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    child = os.fork()
    if child == 0:
        print(ModelStore(Workspace(project, project)).champion("shop").version, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_killed_before_any_move_of_an_alias_there_is_a_champion_and_doing_it_again_completes_it(bench: Bench) -> None:
    one, two = bench.register(), bench.register(data="cd34.dir")
    bench.store.promote(one, "first", by="test")
    project = str(bench.workspace.project)
    done = subprocess.run(
        [sys.executable, "-c", _PROMOTE_AND_DIE, project], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # previous-shop and previous move first, champion third: killed before the third move it is still the old one.
    assert done.stdout.split() == ["1", "1", "1", "2"]
    bench.store.promote(two, "better", by="test")
    assert bench.store.aliases()["champion-shop"] == "2"
    assert seats(bench.store)["champion"] == "2"


def test_an_audit_line_that_a_power_cut_has_torn_spoils_no_other(workspace: Workspace) -> None:
    audit.append(workspace, "judged", {"version": "1"})
    with workspace.audit_log.open("a", encoding="utf-8") as handle:
        handle.write('{"event": "prom')
        handle.flush()
        os.fsync(handle.fileno())
    audit.append(workspace, "promoted", {"version": "1"})
    assert [line["event"] for line in audit.read(workspace)] == ["judged", "promoted"]


def test_the_champions_number_is_found_without_mlflow(bench: Bench) -> None:
    from rectory.registry.seated import champion_number

    assert champion_number(Workspace(bench.workspace.project / "empty", bench.workspace.project / "empty")) is None
    first, second = bench.register(), bench.register(data="cd34.dir")
    assert champion_number(bench.workspace) is None
    bench.store.promote(first, "first", by="test")
    bench.store.promote(second, "better", by="test")
    assert champion_number(bench.workspace) == second.version == bench.store.aliases()["champion"]
    script = (
        "import sys; from rectory.registry.seated import champion_number; from rectory.workspace import Workspace; "
        f"print(champion_number(Workspace(project={str(bench.workspace.project)!r})), 'mlflow' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.split() == [second.version, "False"]
