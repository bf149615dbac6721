"""Live parts are fitted side by side: threads that import one library at once may each get half of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rectory.models.blend import Blend
from rectory.params.candidates import BlendParams
from tests.conformance.synthetic import two_tastes

PARAMS = BlendParams(kind="blend")
_SCRIPT = """
import json, sys, threading
from pathlib import Path

class Late:
    def find_spec(self, name, *_):
        library = name.split(".")[0] in ("implicit", "lightfm", "scipy", "sklearn")
        if library and threading.current_thread() is not threading.main_thread():
            print("late", name)

sys.meta_path.insert(0, Late())

from rectory.data.card import load_card
from rectory.models.blend import Blend
from rectory.serving.preparing import prepare
from tests.unit.serving.test_preparing import PARAMS
from tests.conformance.synthetic import two_tastes

# As the step does, which comes to a model that another process has fitted.
model, report = Blend.load(Path(sys.argv[1])), json.loads(Path(sys.argv[2]).read_text())
prepare(two_tastes(), load_card(Path("datasets/movielens_100k.yaml")), PARAMS, report, model=model, seed=0)
print("done")
"""


def test_threads_import_no_library(tmp_path: Path) -> None:
    """A run has failed in `live` with half of scipy.linalg: one thread had asked for it, the other for scikit-learn."""
    model = Blend(PARAMS, 0, 100).fit(two_tastes())
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    (tmp_path / "chosen.json").write_text(json.dumps(model.report.chosen))
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "model"), str(tmp_path / "chosen.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=".")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["done"]
