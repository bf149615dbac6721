"""A candidate's recipe with what a fit of it chose: all that it takes to fit it again, without a search."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rectory.errors import StoreError
from rectory.files import replacing, sha256_file, sha256_json, write_json
from rectory.models.catalogue import model_class
from rectory.models.protocol import SupportsKeptPart
from rectory.params import Params, dump_params
from rectory.workspace import Workspace


@dataclass(frozen=True)
class Recipe:
    """What the step refit reads. told: candidate, params, what its fit chose, seed, validation_users, and `kept`:
    sha256 of each file that a refit takes over from the fitted model; absent where there is none."""

    told: dict[str, Any]

    @classmethod
    def of(cls, params: Params, candidate: str, chosen: dict[str, Any], bundle: Path) -> Self:
        """
        Args:
            chosen: of the fit report.
            bundle: of that fit.
        """
        told = {
            "candidate": candidate,
            "params": dump_params(params)["train"]["candidates"][candidate],
            "chosen": chosen,
            "seed": params.train.seed,
            "validation_users": params.train.validation_users,
        }
        kept = {path.name: sha256_file(path) for path in _keepable(told["params"]["kind"], bundle)}
        return cls({**told, "kept": kept} if kept else told)

    @property
    def name(self) -> str:
        """Of its file; equal recipes share it."""
        return f"{self.told['candidate']}-{sha256_json(self.told)[:10]}"

    def lay_out(self, workspace: Workspace, bundle: Path) -> None:
        """Write it where the step refit looks, with the files that are taken over from `bundle`.

        Raises:
            StoreError: the bundle's files are not those of the recipe.
        """
        kept = self.told.get("kept", {})
        files = {path.name: path for path in _keepable(self.told["params"]["kind"], bundle) if path.name in kept}
        for name, digest in kept.items():
            if name not in files or sha256_file(files[name]) != digest:
                raise StoreError(
                    f"{name} of the model that {self.name} is fitted again from is missing or was changed."
                )
        if files:
            with replacing(workspace.kept(self.name)) as scratch:
                scratch.mkdir(parents=True)
                for name, path in files.items():
                    shutil.copyfile(path, scratch / name)
        write_json(workspace.recipe(self.name), self.told)


def _keepable(kind: str, bundle: Path) -> list[Path]:
    """Files in a bundle that a refit of this kind can take over."""
    known = model_class(kind)
    names = known.kept_files() if issubclass(known, SupportsKeptPart) else ()
    return [path for name in names if (path := bundle / "model" / name).is_file()]
