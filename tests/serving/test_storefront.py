"""The shop and the operator's page, used as a person would: in a real browser, against the real service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rectory.serving.live_metrics import Attribution, live_metrics
from rectory.serving.store import Store
from rectory.workspace import Workspace
from tests.serving.browser import browser
from tests.serving.running import Server, serving
from tests.waiting import until

EVIL = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def shop(project: Path) -> Iterator[Server]:
    with serving(project) as running:
        items = [
            {
                "ItemId": f"i{n:02d}",
                "Labels": {"brand": ("own", "acme")[n % 2], "price": n},
                "Categories": ["wine"],
                "Timestamp": f"2026-04-{n + 1:02d}T00:00:00Z",
                "Comment": EVIL if n == 7 else f"Thing {n}",
                "IsHidden": False,
            }
            for n in range(16)
        ]
        httpx.post(f"{running.url}/api/items", json=items).raise_for_status()
        events = [
            {"FeedbackType": "purchase", "UserId": f"u{m}", "ItemId": f"i{n:02d}", "Timestamp": "2026-05-01T00:00:00Z"}
            for n in range(16)
            for m in range(16 - n)
        ]
        httpx.post(f"{running.url}/api/feedback", json=events).raise_for_status()
        yield running


@pytest.fixture
def page(shop: Server) -> Iterator[Any]:
    with browser() as opened:
        opened.goto(shop.url)
        yield opened


def items_of(page: Any, shelf: str) -> list[str]:
    return [one.get_attribute("data-item") for one in page.locator(f'[data-shelf="{shelf}"] > li').all()]


def become(page: Any, name: str) -> None:
    page.get_by_label("You are").fill(name)
    page.get_by_role("button", name="Become").click()
    page.get_by_role("heading", name=f"Hello, {name}").wait_for()


def test_a_visitor_becomes_somebody_buys_and_sees_another_page(page: Any) -> None:
    assert items_of(page, "Recommended")[0] == "i00"
    assert page.get_by_role("button", name="Buy").count() == 0, "nobody cannot buy"
    become(page, "anna")
    before = items_of(page, "Recommended for you")
    page.locator('[data-shelf="Recommended for you"] [data-item="i00"]').get_by_role("button", name="Buy").click()
    page.locator('[data-shelf="yours"]').get_by_text("Thing 0", exact=True).wait_for()
    assert "i00" not in items_of(page, "Recommended for you") and before[0] == "i00"


def test_an_item_page_shows_related_items_reasons_and_its_click_counts(page: Any, shop: Server) -> None:
    become(page, "berta")
    page.locator('[data-shelf="Recommended for you"] [data-item="i01"] a').click()
    page.get_by_role("heading", name="Thing 1", exact=True).wait_for()
    assert re.search(r"taken 1[56] times", page.locator("main").inner_text())
    assert items_of(page, "Goes with it") and "i01" not in items_of(page, "Goes with it")
    clicks = httpx.get(f"{shop.url}/api/user/berta/feedback/click").json()
    assert [one["ItemId"] for one in clicks] == ["i01"]
    page.get_by_role("button", name="Add to basket").click()
    page.locator('[data-shelf="yours"]').wait_for()
    assert httpx.get(f"{shop.url}/api/user/berta/feedback/cart").json()[0]["ItemId"] == "i01"


def test_a_newcomer_gets_a_name_and_a_page(page: Any) -> None:
    page.get_by_role("button", name="Newcomer").click()
    page.get_by_role("heading", name=re.compile("Hello, visitor-")).wait_for()
    assert page.get_by_text("Nothing is known of you yet").count() == 1 and items_of(page, "Recommended for you")


def test_titles_and_names_are_text_not_markup(page: Any) -> None:
    become(page, "<b>x")
    assert page.title() != "taken" and page.get_by_text(EVIL).count() > 0


def test_operations_show_what_was_done(page: Any, shop: Server, project: Path) -> None:
    become(page, "clara")
    page.locator('[data-shelf="Recommended for you"] li').first.get_by_role("button", name="Buy").click()
    page.locator('[data-shelf="yours"]').wait_for()
    store = Store.of(Workspace(project, project))
    store.open()
    attribution = Attribution(3600.0, ("purchase",))

    def bought() -> bool:
        found = live_metrics(store, 0.0, 4e9, attribution).whole
        return bool(found.conversion and found.conversion.value > 0)

    until(bought)
    store.close()
    page.get_by_role("link", name="Operations").click()
    page.get_by_role("heading", name="How it is going").wait_for()
    assert page.locator('[data-fact="version"]').inner_text().startswith("popular-1")
    assert re.match(r"[1-9][\d.]*%", page.locator('[data-fact="conversion"]').inner_text())
    assert page.locator("svg rect").count() == 24


def test_what_prometheus_reads(shop: Server) -> None:
    told = httpx.get(f"{shop.url}/metrics").text
    assert "rectory_ready 1.0" in told and 'rectory_model_info{version="popular-1"} 1.0' in told
    assert float(re.findall(r"^rectory_log_sequence_total (\S+)", told, re.MULTILINE)[0]) > 100


def test_other_sites_cannot_press_buttons(shop: Server) -> None:
    form = {"item_id": "i00", "kind": "purchase"}
    cookie = {"Cookie": "rectory_shop_user=anna", "Sec-Fetch-Site": "cross-site"}
    assert httpx.post(f"{shop.url}/shop/act", data=form, headers=cookie).status_code == 403


@pytest.mark.parametrize("path", ["/shop/item/nothing", "/shop/item/%00", "/ops?hours=-1"])
def test_what_is_not_there_is_told_without_a_trace(shop: Server, path: str) -> None:
    answer = httpx.get(shop.url + path)
    assert answer.status_code in {400, 404, 422} and "Traceback" not in answer.text


def test_with_api_keys_there_is_no_shop(tmp_path: Path) -> None:
    from rectory.serving.keys import ApiKeys

    store = Store.of(Workspace(tmp_path, tmp_path))
    store.open()
    key = ApiKeys(store).create("test", "admin")
    store.close()
    with serving(tmp_path, keys="required") as running:
        assert httpx.get(running.url).status_code == 401
        assert httpx.get(running.url, headers={"X-API-Key": key}).status_code == 404
