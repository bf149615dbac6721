"""The model as MLflow loads it ("models from code"): this file is stored with each version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from rectory.models.bundle import Bundle


class RegisteredRecommender(PythonModel):  # type: ignore[misc]
    """DataFrame[user_id] -> DataFrame[user_id, rank, item_id, score], best first, `k` rows a user at most."""

    def load_context(self, context: Any) -> None:
        """Read the bundle that was stored with the version."""
        self._bundle = Bundle.load(Path(context.artifacts["bundle"]))

    def predict(
        self,
        context: Any,  # noqa: ARG002 - MLflow finds the arguments by their names
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Lists for each distinct user of `model_input`, in the order given.

        params: k, length of the lists; exclude_seen, whether to leave out what the user already had (None: as the
        data card says).
        """
        asked = params or {}
        users = list(dict.fromkeys(model_input["user_id"].astype(str)))
        lists: pd.DataFrame = self._bundle.recommend(
            users, int(asked.get("k") or 10), exclude_seen=asked.get("exclude_seen")
        )
        return lists


set_model(RegisteredRecommender())
