"""Reading moments in time: every way a log writes them becomes datetime64[ns, UTC]."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from rectory.data.card import TimestampColumn
from rectory.data.cells import distinct_cells
from rectory.errors import CardError

EPOCHS_PER_SECOND = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000, "epoch_ns": 1_000_000_000}

_NANOSECONDS = 1_000_000_000
# 1e11 seconds lie in the year 5138 and 1e11 milliseconds in 1973, so magnitudes of real logs never meet.
_MILLISECONDS_FROM, _MICROSECONDS_FROM, _NANOSECONDS_FROM = 1e11, 1e14, 1e17
# datetime64[ns] ends in 2262; whole years keep clear of it.
_FIRST_YEAR, _LAST_YEAR = 1678, 2261
_PLAIN = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?$"
_PLAIN_ZONED = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})$"
_ZONED = r"[T ]\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$"


@dataclass(frozen=True)
class Moments:
    """Parsed times.

    times: (n,) datetime64[ns, UTC], NaT where it cannot be read.
    missing: (n,) bool: nothing was written there.
    ambiguous: rows in the hour that a zone runs through twice; the first of the two is taken.
    nonexistent: rows in the hour that a zone skips; moved forward to its end.
    """

    times: pd.Series[pd.Timestamp]
    missing: pd.Series[bool]
    ambiguous: int
    nonexistent: int


def parse_timestamps(column: pd.Series, spec: TimestampColumn) -> Moments:
    """Parse a raw column; a cell that cannot be read becomes NaT, never an exception.

    Raises:
        CardError: the card's format or zone is not one.
    """
    zone = _zone(spec)
    column = column.reset_index(drop=True)
    missing = column.isna()
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        return _localised(_to_nanoseconds(column), missing, zone)
    if column.dtype.kind in "iuf":
        return _from_numbers(column, missing, spec)
    # Logs repeat moments (one basket, one second), and parsing costs far more than looking up.
    codes, distinct = distinct_cells(column)
    text = pd.Series([str(cell).strip() for cell in distinct], dtype="object")
    parsed = _from_text(text, spec, zone)
    blank = text.eq("").to_numpy()
    absent = codes < 0
    safe = np.where(absent, 0, codes)
    if not len(text):
        return Moments(pd.Series(pd.NaT, index=column.index, dtype="datetime64[ns, UTC]"), missing, 0, 0)
    times = parsed.times.take(safe).reset_index(drop=True).mask(absent)
    counts = np.bincount(codes[~absent], minlength=len(text))
    return Moments(
        times,
        pd.Series(absent | blank[safe]),
        int(counts[parsed.ambiguous].sum()),
        int(counts[parsed.nonexistent].sum()),
    )


@dataclass(frozen=True)
class _Text:
    """Like Moments, over distinct cells, with masks in place of counts."""

    times: pd.Series[pd.Timestamp]
    ambiguous: np.ndarray[tuple[int], np.dtype[np.bool_]]
    nonexistent: np.ndarray[tuple[int], np.dtype[np.bool_]]


def _zone(spec: TimestampColumn) -> str:
    try:
        ZoneInfo(spec.zone)
    except (KeyError, ValueError, OSError):
        raise CardError(
            f"interactions.timestamp.zone: {spec.zone!r} is not an IANA time zone; write one like Europe/Berlin."
        ) from None
    known = ("auto", "iso", *EPOCHS_PER_SECOND)
    if spec.format not in known and "%" not in spec.format:
        raise CardError(
            f"interactions.timestamp.format: {spec.format!r} is none of {', '.join(known)} and has no % code; "
            "write a strptime format such as %d.%m.%Y %H:%M."
        )
    return spec.zone


def _from_text(text: pd.Series, spec: TimestampColumn, zone: str) -> _Text:
    if "%" in spec.format:
        return _from_format(text, spec.format, zone)
    if spec.format in EPOCHS_PER_SECOND:
        numbers = _numbers(text)
        return _plain(_from_epoch(numbers, spec.format))
    return _mostly_plain(text, zone, _from_iso if spec.format == "iso" else _from_anything)


def _mostly_plain(text: pd.Series, zone: str, others: Callable[[pd.Series, str], _Text]) -> _Text:
    """ISO times as exporters write them, with a zone or without, in one pass; `others` reads the rest."""
    plain, zoned = _matching(text, _PLAIN), _matching(text, _PLAIN_ZONED)
    parts = []
    for mask, read in ((plain, _read_plain), (zoned, _read_zoned), (~(plain | zoned), others)):
        if mask.all():
            return read(text, zone)
        if mask.any():
            parts.append((mask, read(text[mask], zone)))
    times = pd.Series(pd.NaT, index=text.index, dtype="datetime64[ns, UTC]")
    ambiguous, nonexistent = np.zeros(len(text), dtype=bool), np.zeros(len(text), dtype=bool)
    for mask, part in parts:
        times[mask] = part.times
        ambiguous[mask], nonexistent[mask] = part.ambiguous, part.nonexistent
    return _Text(times, ambiguous, nonexistent)


def _matching(text: pd.Series, pattern: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(n,) bool; where a text is no Unicode (half of a surrogate pair) none counts as matching."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return np.asarray(pc.match_substring_regex(pa.array(text, pa.string()), pattern), dtype=bool)
    except UnicodeEncodeError:
        return np.zeros(len(text), dtype=bool)


def _read_plain(text: pd.Series, zone: str) -> _Text:
    times = pd.to_datetime(text, format="ISO8601", errors="coerce", cache=False)
    return _localise(_to_nanoseconds(times), zone)


def _read_zoned(text: pd.Series, zone: str) -> _Text:  # noqa: ARG001 - they bring their own
    return _plain(_to_nanoseconds(pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce", cache=False)))


def _from_anything(text: pd.Series, zone: str) -> _Text:
    """Epochs, dates without dashes and whatever else is ISO, cell by cell."""
    quick = _from_uniform_iso(text)
    if quick is not None:
        return _localise(quick, zone)
    numbers = _numbers(text)
    # Eight digits from 1970 to 2099 are a date without dashes: as seconds they would all lie in 1970.
    compact = text.str.fullmatch(r"(?:19[7-9]|20\d)\d{5}").to_numpy(dtype=bool)
    numeric = numbers.notna().to_numpy() & ~compact
    iso = _from_iso(text.where(~numeric, ""), zone)
    epoch = _from_epoch(numbers.where(numeric), "auto")
    return _Text(iso.times.where(~numeric, epoch), iso.ambiguous, iso.nonexistent)


def _from_numbers(column: pd.Series, missing: pd.Series, spec: TimestampColumn) -> Moments:
    if "%" in spec.format or spec.format == "iso":
        # 20170131 read from a database: the format is about its digits.
        digits = pd.Series(column.astype("Int64") if column.dtype.kind != "f" else column, dtype="object").astype(str)
        digits = digits.str.removesuffix(".0").where(~missing)
        return parse_timestamps(digits, spec)
    times = _from_epoch(column, spec.format)
    if spec.format == "auto":
        compact = column.between(19_700_101, 20_991_231) & (column % 1 == 0)
        if bool(compact.any()):
            days = column.where(compact, 0).astype("int64").astype(str)
            dates = pd.to_datetime(days, format="%Y%m%d", errors="coerce")
            times = times.mask(compact, _localise(dates, spec.zone).times)
    return Moments(times, missing, 0, 0)


def _numbers(text: pd.Series) -> pd.Series:
    """Whole numbers stay int64 where all are whole, so that nanoseconds keep their last digits."""
    return pd.to_numeric(text, errors="coerce")


def _from_epoch(numbers: pd.Series, unit: str) -> pd.Series:
    """(n,) numbers since 1970 to datetime64[ns, UTC]; NaT for NaN, infinite and far-off ones."""
    size = numbers.abs()
    if unit == "auto":
        per_second = np.select(
            [size < _MILLISECONDS_FROM, size < _MICROSECONDS_FROM, size < _NANOSECONDS_FROM],
            [1, 1_000, 1_000_000],
            default=_NANOSECONDS,
        ).astype(np.int64)
    else:
        per_second = np.full(len(numbers), EPOCHS_PER_SECOND[unit], dtype=np.int64)
    fits = (size.to_numpy(dtype=np.float64) / per_second) < (_LAST_YEAR - 1970) * 365.0 * 86_400
    values = numbers.where(fits, 0).to_numpy()
    step = _NANOSECONDS // per_second
    if values.dtype.kind in "iu":
        nanoseconds = values.astype(np.int64) * step
    else:
        # Whole and broken parts apart: a float holds 1.5e9 seconds to the microsecond, but not 1.5e18 nanoseconds.
        whole = np.floor(values)
        microseconds = np.round((values - whole) * (step / 1_000)).astype(np.int64)
        nanoseconds = whole.astype(np.int64) * step + microseconds * 1_000
    return pd.Series(pd.to_datetime(nanoseconds, utc=True), index=numbers.index).where(fits)


def _from_iso(text: pd.Series, zone: str) -> _Text:
    quick = _from_uniform_iso(text)
    if quick is not None:
        return _localise(quick, zone)
    tidy = text.str.replace(r"\s*(?:UTC|GMT)$", "Z", regex=True).str.replace(
        r"\s+(?=[+-]\d{2}:?\d{2}$)", "", regex=True
    )
    zoned = tidy.str.contains(_ZONED, regex=True).to_numpy(dtype=bool)
    fixed = pd.to_datetime(tidy.where(zoned), format="ISO8601", utc=True, errors="coerce")
    floating = pd.to_datetime(tidy.where(~zoned), format="ISO8601", errors="coerce")
    local = _localise(_to_nanoseconds(floating), zone)
    return _Text(local.times.where(~zoned, _to_nanoseconds(fixed)), local.ambiguous, local.nonexistent)


def _from_uniform_iso(text: pd.Series) -> pd.Series | None:
    """The usual case in one pass: every cell is an ISO time with dashes and without a zone; None when not."""
    if not len(text) or not text.str.contains("-", regex=False).all():
        return None
    try:
        with warnings.catch_warnings():
            # pandas only warns where zones are mixed; here that means: not the usual case.
            warnings.simplefilter("error", FutureWarning)
            times = pd.to_datetime(text, format="ISO8601")
    except (ValueError, OverflowError, FutureWarning):
        return None
    return None if times.dtype.kind != "M" or isinstance(times.dtype, pd.DatetimeTZDtype) else _to_nanoseconds(times)


def _from_format(text: pd.Series, layout: str, zone: str) -> _Text:
    zoned = "%z" in layout or "%Z" in layout
    try:
        times = pd.to_datetime(text, format=layout, errors="coerce", utc=zoned)
    except ValueError as error:
        raise CardError(f"interactions.timestamp.format: {layout!r} is not a strptime format ({error}).") from error
    return _plain(_to_nanoseconds(times)) if zoned else _localise(_to_nanoseconds(times), zone)


def _to_nanoseconds(times: pd.Series) -> pd.Series:
    """Whatever unit it comes in; years that nanoseconds cannot hold become NaT."""
    if times.dtype == "object":
        return pd.Series(pd.NaT, index=times.index, dtype="datetime64[ns]")
    unit = times.dt.unit
    if unit == "ns":
        return times
    kept: pd.Series = times.where(times.dt.year.between(_FIRST_YEAR, _LAST_YEAR)).dt.as_unit("ns")
    return kept


def _plain(times: pd.Series) -> _Text:
    nothing = np.zeros(len(times), dtype=bool)
    return _Text(times, nothing, nothing)


def _localise(times: pd.Series, zone: str) -> _Text:
    """Give a zone to naive times. Where clocks are put back the first of two readings is taken, for there is no way
    to know; where they are put forward the moment of the change is taken."""
    if zone == "UTC" or not len(times):
        return _plain(times.dt.tz_localize("UTC"))
    both = times.dt.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward")
    skips = times.dt.tz_localize(zone, ambiguous=np.ones(len(times), dtype=bool), nonexistent="NaT")
    taken = times.dt.tz_localize(zone, ambiguous=np.ones(len(times), dtype=bool), nonexistent="shift_forward")
    read = times.notna()
    return _Text(
        taken.dt.tz_convert("UTC"),
        (read & both.isna()).to_numpy(dtype=bool),
        (read & skips.isna()).to_numpy(dtype=bool),
    )


def _localised(times: pd.Series, missing: pd.Series, zone: str) -> Moments:
    if isinstance(times.dtype, pd.DatetimeTZDtype):
        return Moments(times.dt.tz_convert("UTC"), missing, 0, 0)
    text = _localise(times, zone)
    return Moments(text.times, missing, int(text.ambiguous.sum()), int(text.nonexistent.sum()))
