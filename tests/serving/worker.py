"""Applications of worker processes for tests: the real service around the small engine."""

from __future__ import annotations

import time

from fastapi import FastAPI

from rectory.serving.server import application_around
from rectory.serving.service import Champions
from tests.serving.popular_engine import PopularEngine


def restless() -> FastAPI:
    """The champion changes ten times a second."""
    return application_around(Champions(lambda: f"popular-{int(time.time() * 10)}", PopularEngine))


def popular() -> FastAPI:
    return application_around(Champions(lambda: "popular-1", PopularEngine))
