"""`python -m flows.installation.healthy SERVICE`: does it answer? Exit code 0 or 1, for a container's health check."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

from flows.installation.services import services
from flows.installation.settings import read_settings
from rectory.workspace import Workspace


def main(name: str) -> int:
    """Ask the address that `rectory up` asks."""
    settings = read_settings(Workspace(project=os.environ.get("RECTORY_PROJECT", ".")))
    (service,) = services(settings, (name,))
    if service.health is None:
        return 0
    try:
        with urllib.request.urlopen(service.health, timeout=10) as answer:  # noqa: S310 - our own http address
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, OSError):
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
