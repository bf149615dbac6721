"""A shop whose files and card the tests bend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rectory.data.card import Card
from rectory.data.readers import SourceFacts, fetch
from rectory.workspace import Workspace

# Everything that readers like to spoil: leading zeros, text that means "missing" elsewhere, spaces, other scripts.
USERS = ["007", "NA", "null", "Zoë 1", "1e5"]
ITEMS = ["0001", "nan", "чай", "a b", "True"]
ROWS = pd.DataFrame(
    {
        "user": USERS,
        "item": ITEMS,
        "time": ["2026-01-01T10:00:00Z", "1767261600", "1767261600000", "01.02.2026 10:00", "2026-01-05"],
        "qty": ["1", "2.50", "00", "", "12345678901234567890"],
    }
)


class Shop:
    """A project folder with a data set; `fetch()` reads it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace(root / "run", root)
        self.said: list[str] = []

    def card(self, source: dict[str, Any], **changes: Any) -> Card:
        log = {"user_id": "user", "item_id": "item", "timestamp": {"column": "time"}}
        tree = {"name": "shop", "source": source, "interactions": log | changes.pop("interactions", {})} | changes
        return Card.model_validate(tree)

    def files_card(self, path: str, **dialect: Any) -> Card:
        return self.card({"kind": "files", "interactions": {"path": path} | dialect})

    def fetch(self, card: Card, free_bytes: int | None = None) -> SourceFacts:
        return fetch(card, self.workspace, 0.8, free_bytes=free_bytes, say=self.said.append)

    def raw(self, table: str = "interactions") -> pd.DataFrame:
        return pd.read_parquet(self.workspace.raw / f"{table}.parquet")

    def read(self, path: str, **dialect: Any) -> pd.DataFrame:
        self.fetch(self.files_card(path, **dialect))
        return self.raw()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put
