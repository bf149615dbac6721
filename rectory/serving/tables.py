"""Tables of the event store. Names and meanings are a contract: `source: events` cards read them by SQL.

log_head         one row: which log this is and the last sequence number that was given out
events           what users did. sequence: order of acceptance, without gaps until something is forgotten
changes          what else alters the live state, numbered in the same sequence
items, users     the catalogue as the API was told it
recommendations  every answer with its propensities: what was shown, by which model
api_keys         hashed at rest
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text

metadata = MetaData()

log_head = Table(
    "log_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("log_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False, unique=True),
    Column("user_id", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("timestamp", Double, nullable=False),
    Column("received", Double, nullable=False),
    Column("value", Double, nullable=False),
    Column("recommendation_id", Text),
    Column("context", Text),
    Index("events_by_user", "user_id", "item_id"),
    Index("events_by_item", "item_id"),
)

changes = Table(
    "changes",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("what", Text, nullable=False),  # item | remove_item | user | forgotten | unlearn
    Column("key", Text, nullable=False),  # of `forgotten` no id but a mark: rectory.serving.marks
    Column("payload", Text),
)

items = Table(
    "items",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("hidden", Boolean, nullable=False),
    Column("categories", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("timestamp", Double),
    Column("comment", Text, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("labels", Text, nullable=False),
    Column("comment", Text, nullable=False),
)

recommendations = Table(
    "recommendations",
    metadata,
    Column("recommendation_id", Text, primary_key=True),
    Column("user_id", Text),
    Column("made", Double, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("rung", Text, nullable=False),
    Column("milliseconds", Double, nullable=False),
    Column("request", Text, nullable=False),
    Column("items", Text, nullable=False),
    Index("recommendations_by_user", "user_id"),
    Index("recommendations_by_time", "made"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("salt", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("revoked", Double),
)
