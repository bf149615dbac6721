"""Tells other workers through Redis that something was committed. Without it they look by themselves every 50 ms."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from rectory.errors import UsageError

URL_VARIABLE = "RECTORY_REDIS_URL"
_CHANNEL = "rectory-events"
_RETRY_SECONDS = 2.0
_log = logging.getLogger("rectory.serving")


class Notifier:
    """Publishes commits and wakes whoever follows.

    Args:
        url: redis://...; None: do nothing.
        wake: called for each message of another process, and of this one.
    """

    def __init__(self, url: str | None, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._client: Any = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.connected = False
        if not url:
            return
        try:
            import redis
        except ImportError:
            raise UsageError(
                f"{URL_VARIABLE} is set, but redis is not installed: pip install 'rectory[redis]'."
            ) from None
        try:
            self._client = redis.Redis.from_url(
                url, socket_timeout=0.5, socket_connect_timeout=0.5, health_check_interval=10
            )
        except ValueError as error:
            raise UsageError(f"{URL_VARIABLE} is no Redis URL ({error}). Write redis://host:6379/0.") from None
        self._thread = threading.Thread(target=self._listen, name="redis-listener", daemon=True)
        self._thread.start()

    @classmethod
    def from_environment(cls, wake: Callable[[], None]) -> Notifier:
        return cls(os.environ.get(URL_VARIABLE), wake)

    def publish(self) -> None:
        """Say that there is something new; a Redis that does not answer is passed over."""
        if self._client is None or not self.connected:
            return
        try:
            self._client.publish(_CHANNEL, b"1")
        except Exception as error:  # noqa: BLE001 - whatever Redis has, the followers look by themselves
            self.connected = False
            _log.warning("Redis does not answer (%s): workers look for events by themselves", type(error).__name__)

    def close(self) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._client is not None:
            self._client.close()

    def _listen(self) -> None:
        while not self._ending.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(_CHANNEL)
                    self.connected = True
                    while not self._ending.is_set():
                        if channel.get_message(timeout=0.25) is not None:
                            self._wake()
            except Exception as error:  # noqa: BLE001 - see publish
                if self.connected:
                    _log.warning("Redis went away (%s): workers look for events by themselves", type(error).__name__)
                self.connected = False
                self._ending.wait(_RETRY_SECONDS)
