"""Models of earlier versions have params that this one may not know: they load all the same."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from rectory.files import read_json, write_json
from rectory.models.catalogue import build, model_class
from rectory.params import base
from rectory.params.candidates import BlendParams, TransitionsParams
from tests.conformance.synthetic import two_tastes


def test_a_model_with_a_key_that_is_gone_answers_as_before_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_told", set())
    model = build(TransitionsParams(kind="transitions"), 7, 100).fit(two_tastes(repeats=True))
    model.save(tmp_path)
    facts = read_json(tmp_path / "transitions.json")
    write_json(tmp_path / "transitions.json", {**facts, "params": {**facts["params"], "was_dropped": 3}})
    users = np.arange(20, dtype=np.int32)
    with caplog.at_level(logging.WARNING):
        again = [model_class("transitions").load(tmp_path) for _ in range(3)]
    for one in again:
        np.testing.assert_array_equal(one.recommend(users, 10).items, model.recommend(users, 10).items)
    (record,) = [one for one in caplog.records if one.name == "rectory.params"]
    assert "was_dropped" in record.getMessage()


def test_keys_that_are_gone_are_found_at_any_depth_and_the_rest_is_kept(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_told", set())
    blend = BlendParams(kind="blend", trees=7)
    saved = json.loads(blend.model_dump_json())
    saved["old"] = {"a": 1}
    saved["sources"]["recent"]["older"] = None
    with caplog.at_level(logging.WARNING):
        assert BlendParams.of_saved(saved) == blend
        assert BlendParams.of_saved(json.loads(blend.model_dump_json())) == blend
    (record,) = caplog.records
    assert "(sources.recent.older, old)" in record.getMessage()


def test_what_people_write_and_what_is_wrong_are_refused_as_ever() -> None:
    saved = json.loads(TransitionsParams(kind="transitions").model_dump_json())
    with pytest.raises(ValidationError, match="was_dropped"):
        TransitionsParams.model_validate({**saved, "was_dropped": 3})
    with pytest.raises(ValidationError, match="lags"):
        TransitionsParams.of_saved({**saved, "lags": 0})


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "rectory" / "models").glob("*.py")), ids=lambda p: p.stem
)
def test_no_model_reads_its_saved_params_by_the_strict_way(file: Path) -> None:
    assert ".model_validate(" not in file.read_text(encoding="utf-8")
