"""Kinds that are fitted in threads have imported their libraries before: half-imported ones have failed fits."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys
from pydantic import TypeAdapter
from rectory.models import catalogue
from rectory.params.candidates import CandidateParams
from tests.conformance.synthetic import two_tastes

train = two_tastes()
for kind in catalogue._FITTED_WITH:
    catalogue.import_for_fit(kind)
    before = set(sys.modules)
    catalogue.build(TypeAdapter(CandidateParams).validate_python({"kind": kind}), 0, 100).fit(train)
    late = sorted(name for name in set(sys.modules) - before if name.split(".")[0] in ("implicit", "lightfm", "scipy"))
    print(kind, *late)
"""


def test_a_fit_imports_no_library_that_was_not_imported_before_it() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False, cwd=".")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == 6 and all(len(line.split()) == 1 for line in lines), done.stdout
