"""LightGBM comes without scikit-learn, and scikit-learn is there for everybody else."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

from rectory.models import lightgbm_import

_SCRIPT = """
import sys
import numpy as np
from rectory.models.lightgbm_import import import_lightgbm

lightgbm = import_lightgbm()
assert "sklearn" not in sys.modules
x = np.arange(400.0).reshape(-1, 1)
made = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(x, (x[:, 0] > 200) * 1.0), 5)
assert made.predict(x)[0] < 0.5 < made.predict(x)[-1]
assert import_lightgbm() is lightgbm
import sklearn.base
"""


@pytest.mark.skipif(not lightgbm_import._MAY_HIDE, reason="scikit-learn must come first on this machine")
def test_lightgbm_trains_without_scikit_learn_which_can_be_imported_later() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_module_is_hidden_from_one_thread_and_only_for_a_while() -> None:
    sys.modules.pop("colorsys", None)
    with ThreadPoolExecutor(1) as other, lightgbm_import.hidden("colorsys"):
        with pytest.raises(ModuleNotFoundError):
            import_module("colorsys")
        assert other.submit(import_module, "colorsys").result().__name__ == "colorsys"
    del sys.modules["colorsys"]
    assert import_module("colorsys").__name__ == "colorsys"
