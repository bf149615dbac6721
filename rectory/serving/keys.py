"""API keys: rk_<id>_<secret>. Only a salted scrypt hash of the secret is kept; a key can be told apart by its id."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import insert, select, update

from rectory.errors import UsageError
from rectory.serving import tables
from rectory.serving.store import Store

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Each may do what those before it may."""

_KEY = re.compile(r"rk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_MAX_NAME = 100
_KNOWN_AT_MOST = 10_000
# Secrets are 256 random bits, so no dictionary helps against the hash; its cost is kept low enough for every request's
# first sight of a key (about 10 ms, 4 MB).
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**12, 8, 1


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept. Moments are seconds since 1970."""

    key_id: str
    name: str
    scope: Scope
    salt: str
    hash: str
    created: float
    expires: float | None
    revoked: float | None

    def valid(self, now: float) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)


def allows(scope: Scope, needed: Scope) -> bool:
    return SCOPES.index(scope) >= SCOPES.index(needed)


class ApiKeys:
    """Keys in the event store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, name: str, scope: Scope, expires: float | None = None) -> str:
        """Make a key and return it; it is shown this once.

        Raises:
            UsageError: an unknown scope or an unfit name.
        """
        if scope not in SCOPES:
            raise UsageError(f"scope {scope!r}: write one of {', '.join(SCOPES)}.")
        if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
            raise UsageError(
                f"a key's name says who uses it: 1 to {_MAX_NAME} printable characters, e.g. shop-frontend."
            )
        key_id, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_hex(16)
        row = {
            "key_id": key_id,
            "name": name,
            "scope": scope,
            "salt": salt,
            "hash": _hash(secret, salt),
            "created": time.time(),
            "expires": expires,
            "revoked": None,
        }
        with self._store.writing() as writing:
            writing.connection.execute(insert(tables.api_keys), [row])
        return f"rk_{key_id}_{secret}"

    def rotate(self, key_id: str, grace_seconds: float) -> str:
        """Make a successor of the same name and scope; the old key ends after `grace_seconds`.

        Raises:
            UsageError: there is no such key that is valid.
        """
        old = self._get(key_id)
        now = time.time()
        if not old.valid(now):
            raise UsageError(f"key {key_id} has expired or was revoked: make a new one with `rectory keys create`.")
        key = self.create(old.name, old.scope, old.expires)
        ends = now + grace_seconds
        self._set(key_id, expires=ends if old.expires is None else min(ends, old.expires))
        return key

    def revoke(self, key_id: str) -> None:
        """End a key. Every worker refuses it within a second or two.

        Raises:
            UsageError: there is no such key.
        """
        self._get(key_id)
        self._set(key_id, revoked=time.time())

    def all(self) -> list[ApiKey]:
        """Oldest first."""
        with self._store.reading() as connection:
            rows = connection.execute(select(tables.api_keys).order_by(tables.api_keys.c.created))
            return [ApiKey(**row) for row in rows.mappings()]

    def _get(self, key_id: str) -> ApiKey:
        for key in self.all():
            if key.key_id == key_id:
                return key
        raise UsageError(f"there is no key {key_id!r}; `rectory keys list` shows those there are.")

    def _set(self, key_id: str, **values: float | None) -> None:
        with self._store.writing() as writing:
            changed = update(tables.api_keys).where(tables.api_keys.c.key_id == key_id).values(**values)
            writing.connection.execute(changed)


class KeyRing:
    """The keys as one process knows them: checking one that was seen before costs microseconds, and no database."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._by_id: dict[str, ApiKey] = {}
        # Digests of secrets that were right, under a key of this process only.
        self._process_key = secrets.token_bytes(32)
        self._seen: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read the keys anew.

        Raises:
            EventStoreError: the store cannot be read; the keys stay as they were.
        """
        found = {key.key_id: key for key in self._keys.all()}
        with self._lock:
            self._by_id = found
            self._seen = {key_id: digest for key_id, digest in self._seen.items() if key_id in found}

    def quick(self, presented: str) -> ApiKey | Literal["unsure"] | None:
        """The key, None if it is not valid, or "unsure" if only the slow hash can tell (`slow`)."""
        match = _KEY.fullmatch(presented)
        key = self._by_id.get(match[1]) if match else None
        if match is None or key is None or not key.valid(time.time()):
            return None
        seen = self._seen.get(key.key_id)
        if seen is None:
            return "unsure"
        return key if hmac.compare_digest(seen, self._digest(match[2])) else "unsure"

    def slow(self, presented: str) -> ApiKey | None:
        """Compare with the hash that is kept: about 10 ms of work, for a thread."""
        match = _KEY.fullmatch(presented)
        key = self._by_id.get(match[1]) if match else None
        if match is None or key is None or not key.valid(time.time()):
            return None
        if not hmac.compare_digest(_hash(match[2], key.salt), key.hash):
            return None
        with self._lock:
            if len(self._seen) < _KNOWN_AT_MOST:
                self._seen[key.key_id] = self._digest(match[2])
        return key

    def _digest(self, secret: str) -> bytes:
        return hmac.digest(self._process_key, secret.encode(), "sha256")


def _hash(secret: str, salt: str) -> str:
    made = hashlib.scrypt(secret.encode(), salt=bytes.fromhex(salt), n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P, dklen=32)
    return made.hex()
