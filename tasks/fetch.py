"""Step fetch: the card's source -> data/raw, read only when it changed."""

from __future__ import annotations

from rectory.data.card import load_card
from rectory.data.readers import SourceFacts, fetch
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


def run(params: Params, workspace: Workspace) -> SourceFacts:
    """Read the source that the data set's card names; an unchanged one is not read again."""
    return fetch(load_card(workspace.card(params.dataset)), workspace, params.fetch.max_memory_share)


if __name__ == "__main__":
    main("fetch", run)
