"""Wheels: pinned by hash, read as zips, placed by hand where there is no index."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from rectory.data.card import Card, load_card
from rectory.errors import FetchError
from rectory.files import sha256_file

from .conftest import ROWS, Shop

NAME = "toy_sales-1.0-py3-none-any.whl"
DATASETS = Path(__file__).parents[3] / "datasets"


def build_wheel(folder: Path, text: str = "") -> Path:
    """A wheel with data and a module that shouts when it is imported."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    members = {
        "toy_sales/__init__.py": "raise SystemExit('imported')\n",
        "toy_sales/data/b.csv": "user,item,time,qty\nu9,i9,9,9\n",
        "toy_sales/data/a.csv": ROWS.to_csv(index=False) + text,
        "toy_sales-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy-sales\nVersion: 1.0\n",
        "toy_sales-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        archive.writestr(zipfile.ZipInfo("toy_sales-1.0.dist-info/RECORD"), "".join(f"{name},,\n" for name in members))
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package index; nothing else can be reached."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel_card(shop: Shop, sha256: str, path: str = "toy_sales/data/a.csv") -> Card:
    pin = {"kind": "wheel", "package": "toy-sales", "version": "1.0", "sha256": sha256}
    return shop.card(pin | {"interactions": {"path": path}})


def test_a_pinned_wheel_is_downloaded_once_and_read(shop: Shop, index: Path) -> None:
    wheel = build_wheel(index)
    card = wheel_card(shop, sha256_file(wheel))
    facts = shop.fetch(card)
    assert shop.raw()["user"].tolist() == ROWS["user"].tolist()
    assert facts.fetched == ["toy_sales/data/a.csv"]
    assert any("toy-sales 1.0" in line for line in shop.said)
    wheel.unlink()
    assert shop.fetch(card).reused
    shutil.rmtree(shop.workspace.raw)
    assert shop.fetch(card).fingerprint == facts.fingerprint


def test_members_may_be_a_glob(shop: Shop, index: Path) -> None:
    facts = shop.fetch(wheel_card(shop, sha256_file(build_wheel(index)), "toy_sales/data/*.csv"))
    assert facts.rows == {"interactions": len(ROWS) + 1}
    assert shop.raw()["user"].iloc[-1] == "u9"


def test_another_file_than_the_pinned_one_is_refused(shop: Shop, index: Path) -> None:
    build_wheel(index)
    with pytest.raises(FetchError, match=r"has not the pinned sha256 0{64}.*change `sha256:`"):
        shop.fetch(wheel_card(shop, "0" * 64))
    assert not list(shop.workspace.downloads.rglob("*.whl"))


def test_without_an_index_the_error_says_what_to_place_where(shop: Shop, index: Path) -> None:
    wheel = build_wheel(shop.root / "elsewhere")
    sha256 = sha256_file(wheel)
    card = wheel_card(shop, sha256)
    folder = shop.workspace.downloads / sha256
    with pytest.raises(FetchError) as caught:
        shop.fetch(card)
    assert "toy_sales-1.0-*.whl" in str(caught.value)
    assert str(folder.resolve()) in str(caught.value)
    shutil.copy(wheel, folder)
    assert shop.fetch(card).rows == {"interactions": len(ROWS)}


def test_a_wrong_file_placed_by_hand_is_refused(shop: Shop, index: Path) -> None:
    sha256 = sha256_file(build_wheel(shop.root / "right"))
    wrong = build_wheel(shop.workspace.downloads / sha256, "u,i,1,1\n")
    with pytest.raises(FetchError, match=r"is not the file that was reviewed\. Delete it"):
        shop.fetch(wheel_card(shop, sha256))
    assert wrong.exists()


def test_a_member_that_is_not_there_is_named_beside_those_that_are(shop: Shop, index: Path) -> None:
    sha256 = sha256_file(build_wheel(index))
    with pytest.raises(FetchError, match=r"has no member toy_sales/data/c\.csv; .*toy_sales/data/a\.csv"):
        shop.fetch(wheel_card(shop, sha256, "toy_sales/data/c.csv"))


@pytest.mark.parametrize("name", ["complete_journey", "movielens_100k", "movielens_1m"])
def test_the_cards_that_come_with_rectory_are_complete(name: str) -> None:
    card = load_card(DATASETS / f"{name}.yaml")
    assert card.historic
    assert card.licence
    assert card.citation
    assert card.items is not None and card.items.features and card.items.title
    assert card.users is not None and card.users.features
    assert card.interactions.repeats == ("allow" if name == "complete_journey" else "exclude")
