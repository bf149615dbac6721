"""A person in fitted models: the id becomes a random one, the history and the vectors of its row become empty.

Rows of a model are known by their place, so none can be taken out without moving all others: what is left is a row that
belongs to nobody. The next training is made without it.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np

from rectory.arrays import Array
from rectory.files import read_arrays, read_json, read_parquet, write_arrays, write_parquet

_STAND_IN = "forgotten-"


def row_of(bundle: Path, user_id: str) -> int | None:
    """Code of the user in a bundle; None: the model does not know them."""
    if not (bundle / "users.parquet").is_file():
        return None
    ids = read_parquet(bundle / "users.parquet")["user_id"].to_numpy()
    found = np.flatnonzero(ids == user_id)
    return int(found[0]) if len(found) else None


def empty_row(bundle: Path, user_id: str) -> bool:
    """Take the person out of one bundle; False: was not in it. Killed in between, doing it again completes it: the id
    goes last."""
    row = row_of(bundle, user_id)
    if row is None:
        return False
    facts = read_json(bundle / "bundle.json")
    users, items = int(facts["users"]), int(facts["items"])
    for path in sorted(bundle.rglob("*.npz")):
        arrays = read_arrays(path)
        # Where there are as many items as users, only what is surely by users is touched.
        known_by_users = users != items or path.name == "seen.npz"
        if known_by_users and _clear(arrays, row, users):
            write_arrays(path, arrays)
    table = read_parquet(bundle / "users.parquet")
    table.loc[row, "user_id"] = _STAND_IN + secrets.token_hex(8)
    write_parquet(table, bundle / "users.parquet")
    return True


def _clear(arrays: dict[str, Array], row: int, users: int) -> bool:
    """Empty the row in sparse matrices and in arrays with one row a user."""
    changed = False
    for name in [name for name in arrays if name.endswith("indptr")]:
        prefix = name.removesuffix("indptr")
        parts = [prefix + part for part in ("indices", "data") if prefix + part in arrays]
        if len(arrays[name]) != users + 1 or not parts:
            continue
        start, end = int(arrays[name][row]), int(arrays[name][row + 1])
        for part in parts:
            arrays[part] = np.delete(arrays[part], slice(start, end))
        after = arrays[name].copy()
        after[row + 1 :] -= end - start
        arrays[name] = after
        changed |= end > start
    sparse = {name[: -len(part)] for name in arrays for part in ("indptr",) if name.endswith(part)}
    for name, values in arrays.items():
        inside = any(name == prefix + part for prefix in sparse for part in ("indptr", "indices", "data", "shape"))
        if not inside and values.ndim >= 1 and len(values) == users and values.dtype.kind == "f" and values[row].any():
            emptied = values.copy()
            emptied[row] = 0
            arrays[name] = emptied
            changed = True
    return changed
