"""The page: complete, safe, and in need of nothing from outside."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import tasks.report
from rectory.files import read_json, tree_digests, write_json
from rectory.reporting.page import SECTIONS
from rectory.workspace import Workspace
from tests.unit.reporting.fake_run import EVIL, make_run, params

VOID = {"meta", "link", "br", "img", "input", "hr", "path", "use", "rect"}


class Page(HTMLParser):
    """Tags with their attributes, text by the id of the section, and whether all tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self.headline = ""
        self._open: list[str] = []
        self._section = ""
        self.feed(text)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
            self.sections[self._section] = ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data) -> None:
        if self._section:
            self.sections[self._section] += data
        if "h1" in self._open:
            self.headline += data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    asked, workspace = make_run(tmp_path_factory.mktemp("project"))
    tasks.report.run(asked, workspace)
    return asked, workspace


@pytest.fixture(scope="module")
def text(made) -> str:
    return (made[1].reports / "latest" / "index.html").read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def render(asked, workspace: Workspace) -> Page:
    tasks.report.run(asked, workspace)
    return Page((workspace.report / "index.html").read_text())


def test_every_section_is_there_and_linked(page: Page) -> None:
    names = [name for name, _ in SECTIONS]
    assert list(page.sections) == names
    links = {attrs.get("href") for tag, attrs in page.tags if tag == "a"}
    assert {f"#{name}" for name in names} <= links


def test_loads_nothing_from_outside(page: Page, text: str) -> None:
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in page.tags}
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            target = attrs.get(name) or ""
            assert "//" not in target, f"<{tag} {name}={target}>"
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_titles_cannot_inject_markup(made, text: str) -> None:
    lists = read_json(made[1].report / "recommendations.json")
    assert any(item["title"] == EVIL for user in lists for item in user["listed"])
    assert "<script" not in text
    assert "&lt;script&gt;alert" in text
    assert "<b>17</b>" not in text


def test_the_headline_says_who_was_promoted_and_how_good_it_is(page: Page) -> None:
    assert "lightfm_hybrid (version 6) was promoted" in page.headline
    assert "+144.9% against the best baseline, popularity_recent" in page.headline


def test_rows_add_up_visibly_and_reasons_have_examples(page: Page) -> None:
    data = page.sections["data"]
    for shown in ("6,061", "6,000", "19", "42", "no user id", "fuel is not a product", "0007", "unknown items"):
        assert shown in data


def test_rows_that_do_not_add_up_are_called_out(tmp_path: Path) -> None:
    asked, workspace = make_run(tmp_path, models=False)
    facts = read_json(workspace.validation)
    facts["tables"]["interactions"]["rows_in"] += 1
    write_json(workspace.validation, facts)
    assert "NO" in render(asked, workspace).sections["data"]


def test_candidates_stand_best_first_with_intervals_and_marks(page: Page) -> None:
    shown = page.sections["candidates"]
    places = [shown.index(name) for name in ("lightfm_hybrid", "personal_frequency", "popularity_recent")]
    assert places == sorted(places)
    assert "0.4086 to 0.4634" in shown
    assert shown.index("champion") < shown.index("baseline")


def test_the_decision_shows_each_rule(page: Page) -> None:
    decision = page.sections["decision"]
    assert decision.count("pass") == 5
    assert "at least the asked +0.0%" in decision


def test_samples_show_titles_reasons_and_what_was_taken(made, page: Page) -> None:
    users = read_json(made[1].report / "recommendations.json")
    assert [user["kind"] for user in users][:4] == ["heavy", "typical", "light", "new"]
    assert users[3]["history_rows"] == 0
    assert "Really taken" in page.sections["samples"]
    assert any(item["hit"] for user in users for item in user["listed"])
    assert all(item["reasons"] for item in users[0]["listed"])
    taken = {item["item_id"]: item["rank"] for item in users[0]["taken"]}
    for item in users[0]["listed"]:
        assert item["hit"] == (taken.get(item["item_id"]) == item["rank"])


def test_views_are_no_hits_when_they_weigh_nothing(made) -> None:
    from rectory.files import read_parquet

    rows = read_parquet(made[1].split / "test.parquet")
    user = read_json(made[1].report / "recommendations.json")[0]
    bought = rows[(rows["user_id"] == user["user_id"]) & (rows["event"] == "buy")]
    assert {item["item_id"] for item in user["taken"]} == set(bought["item_id"])


def test_tables_have_scoped_headers_and_figures_have_words(page: Page) -> None:
    for tag, attrs in page.tags:
        if tag == "th":
            assert attrs.get("scope") in {"col", "row", "rowgroup"}
        if attrs.get("role") == "img":
            assert len(attrs.get("aria-label") or "") > 20
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_is_small_and_publishes_the_same_folder_twice(made, text: str) -> None:
    assert len(text) < 1_000_000
    _, workspace = made
    assert tree_digests(workspace.reports / "r1") == tree_digests(workspace.reports / "latest")
    assert not (workspace.reports / "latest").is_symlink()
    assert {"index.html", "summary.json", "drift.html", "recommendations.json", "pareto.svg"} == set(
        tree_digests(workspace.reports / "latest")
    )


def test_equal_inputs_give_equal_pages(made, text: str) -> None:
    tasks.report.run(*made)
    assert (made[1].reports / "latest" / "index.html").read_text() == text


def test_links_lead_to_files_that_exist(made, page: Page) -> None:
    folder = made[1].reports / "latest"
    targets = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
    files = [target for target in targets if not target.startswith("#")]
    assert len(files) >= 4
    for target in files:
        assert (folder / target).is_file(), target


def test_an_empty_workspace_gives_a_page_that_says_so(tmp_path: Path) -> None:
    page = render(params(), Workspace(tmp_path / "runs" / "r", tmp_path))
    assert "No candidate has been measured yet" in page.headline
    assert "No data has been validated" in page.sections["data"]
    assert "Drift has not been checked" in page.sections["drift"]
    assert (tmp_path / "reports" / "local" / "index.html").is_file()


@pytest.mark.parametrize("missing", ["drift", "registry", "models", "metrics", "data/split", "data/tables", "timings"])
def test_a_missing_part_costs_only_its_section(tmp_path: Path, missing: str) -> None:
    asked, workspace = make_run(tmp_path, users=40, rows=1500, models=missing not in {"models", "registry"})
    shutil.rmtree(workspace.root / missing, ignore_errors=True)
    page = render(asked, workspace)
    assert list(page.sections) == [name for name, _ in SECTIONS]


def test_refused_data_is_the_headline(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "run", tmp_path)
    write_json(
        workspace.validation,
        {
            "dataset": "corner_shop",
            "as_of": None,
            "as_of_asked": None,
            "tables": {"interactions": {"rows_in": 5, "rows_kept": 0, "rows_quarantined": 5, "rows_filtered": 0,
                                        "quarantined": {"no user id": 5}, "filtered": {}, "examples": {}}},
            "checks": [{"name": "bad rows", "status": "fail", "value": 1.0, "limit": 0.2, "text": "all rows are bad"}],
            "summary": {"users": 0, "items": 0, "interactions": 0, "events": {}},
        },
    )  # fmt: skip
    page = render(params(), workspace)
    assert "The data was refused" in page.headline
    assert "all rows are bad" in page.sections["data"]


def test_what_was_chosen_stands_beside_why(page: Page) -> None:
    learning = page.sections["learning"]
    assert "What was chosen and why" in learning
    assert "content is off: the card declares no <text>" in learning


def test_behavioural_tests_stand_with_what_failed(page: Page) -> None:
    behaviour = page.sections["behaviour"]
    assert "shuffled ids" in behaviour
    assert behaviour.count("\u2717") == 1
    assert "2 of 500 lists hold a gone item" in behaviour


def test_gaps_say_which_are_beyond_chance(page: Page, text: str) -> None:
    rows = re.findall(r"<tr><th scope=\"row\">(city|age)</th>(.*?)</tr>", text, re.DOTALL)
    said = {name: re.sub(r"<[^>]+>", " ", cells).split() for name, cells in rows[:2]}
    assert said["city"] == ["&lt;i&gt;Oslo", "Rome", "0.0900", "0.0626", "to", "0.1174", "120", "yes"]
    assert said["age"] == ["q1", "q4", "0.0200", "0.0000", "to", "0.0800", "120", "no"]
    slices = page.sections["slices"]
    assert "more than 5 interactions before the window" in slices
    assert "<i>Oslo" not in text


def test_the_front_is_marked_in_the_table_and_drawn(page: Page) -> None:
    badges = [attrs.get("class") for tag, attrs in page.tags if tag == "span" and "badge" in (attrs.get("class") or "")]
    assert "badge champion" in badges
    assert badges.count("badge front") == 2  # Once in the caption's words.
    assert "lightfm_hybrid \N{BULLET} front" in page.sections["candidates"]


def test_an_old_run_without_the_new_facts_still_has_its_page(tmp_path: Path) -> None:
    asked, workspace = make_run(tmp_path, users=40, rows=1500, models=False)
    for name in asked.train.candidates:
        workspace.behaviour(name).unlink(missing_ok=True)
        for path, keys in ((workspace.metrics(name), ("gaps", "meanings")), (workspace.fit_report(name), ("notes",))):
            write_json(path, {key: value for key, value in read_json(path).items() if key not in keys})
    page = render(asked, workspace)
    assert "No behavioural test has run" in page.sections["behaviour"]
    assert "Gaps between groups" not in page.sections["slices"]
    assert "cold" in page.sections["slices"]


def test_a_refused_challenger_is_named_with_the_first_failing_rule(tmp_path: Path) -> None:
    asked, workspace = make_run(tmp_path, models=False)
    facts = read_json(workspace.decision)
    facts |= {"promoted": False, "champion": {"name": "lightfm_hybrid", "version": "2"}}
    facts["reasons"][0] |= {"passed": False, "text": "ndcg@10 +1.0% [-0.4%, +2.3%]: reaches below the asked +0.0%"}
    write_json(workspace.decision, facts)
    page = render(asked, workspace)
    assert "lightfm_hybrid (version 2) stays champion" in page.headline
    assert "reaches below the asked" in page.headline
    assert "FAIL" in page.sections["decision"]
    assert '"champion"' not in page.sections["candidates"]
