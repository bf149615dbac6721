"""What comes in from outside: ids, moments, durations. One place that says what is fit to be kept."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pydantic_core import PydanticCustomError

MAX_ID_LENGTH = 256
MAX_KIND_LENGTH = 64
BAD_ID = "bad_id"
_LATEST = 7_258_118_400.0  # the year 2200
# Control characters, line separators, and halves of surrogate pairs, which no file can hold.
_UNFIT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_UNFIT_TEXT = re.compile("[\\x00\\ud800-\\udfff]")
# What exporters write for "nothing": the next training would put such a row into quarantine.
_NOTHING = frozenset({"nan", "NaN", "None", "null", "NULL", "<NA>", "NaT", ".", ".."})
_EPOCH = re.compile(r"-?\d{1,19}(?:\.\d{1,9})?")
_EPOCH_UNITS = (1e17, 1e9), (1e14, 1e6), (1e11, 1e3)
_GO_ZONE = re.compile(r" ([+-]\d{2}):?(\d{2})(?: [A-Za-z]{1,5}| [+-]\d{2,4})?$")
_FORMATS = ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d")
_DURATION_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)")
_DURATION_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def check_id(text: str, what: str = "id", longest: int = MAX_ID_LENGTH) -> str:
    """Return `text` if it can be an id.

    Raises:
        PydanticCustomError: empty, too long, with '/', control characters or white space around it; or one of the
            spellings of "nothing", which the next training would refuse.
    """
    fault = ""
    if not text or len(text) > longest:
        fault = f"must have 1 to {longest} characters"
    elif "/" in text or _UNFIT.search(text):
        fault = "must have no '/' and no control characters"
    elif text != text.strip():
        fault = "must have no white space around it"
    elif text in _NOTHING:
        fault = f"must not be {text!r}, which stands for no value"
    if fault:
        raise PydanticCustomError(BAD_ID, "{what} {fault}", {"what": what, "fault": fault})
    return text


def check_kind(text: str) -> str:
    """The same for the kind of an event."""
    return check_id(text, "event kind", MAX_KIND_LENGTH)


def check_text(text: str) -> str:
    """Text that a database can hold.

    Raises:
        PydanticCustomError: it has a NUL or half a surrogate pair.
    """
    if _UNFIT_TEXT.search(text):
        raise PydanticCustomError(BAD_ID, "text must have no NUL and no half surrogate pairs")
    return text


def check_value(value: object, depth: int = 0) -> None:
    """Check each text, number and the depth of a JSON value.

    Raises:
        PydanticCustomError: a text that a database cannot hold, a number that is none, or nested more than 16 levels.
    """
    if depth > 16:
        raise PydanticCustomError("too_deep", "nested more than 16 levels")
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("bad_number", "numbers must be finite")
    elif isinstance(value, dict):
        for name, part in value.items():
            check_text(name)
            check_value(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            check_value(part, depth + 1)


def moment(value: str | float) -> float:
    """Seconds since 1970 of an ISO 8601 time, an epoch in s, ms, us or ns, an RFC 2822 time, or Go's String().

    Without a zone it is UTC.

    Raises:
        PydanticCustomError: it is none of these, or before 1970 or after 2200.
    """
    seconds = _seconds(value) if not isinstance(value, bool) else None
    if seconds is None or not 0 <= seconds < _LATEST:
        raise PydanticCustomError(
            "bad_moment", "must be a time between 1970 and 2200, such as 2026-05-01T12:30:00Z or 1777638600"
        )
    return seconds


def _seconds(value: str | float) -> float | None:
    if isinstance(value, int | float):
        return _scaled(float(value))
    text = value.strip()
    if len(text) > 64:
        return None
    if _EPOCH.fullmatch(text):
        return _scaled(float(text))
    for read in (datetime.fromisoformat, _go_time, *(_formatted(form) for form in _FORMATS), parsedate_to_datetime):
        try:
            found = read(text)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _scaled(number: float) -> float:
    for least, unit in _EPOCH_UNITS:
        if number >= least:
            return number / unit
    return number


def _go_time(text: str) -> datetime:
    return datetime.fromisoformat(_GO_ZONE.sub(r"\1:\2", text))


def _formatted(form: str) -> Callable[[str], datetime]:
    return lambda text: datetime.strptime(text, form).replace(tzinfo=UTC)


def duration(text: str) -> float:
    """Seconds of a duration as Go writes it: 1h30m, 0h0m10s, 500ms.

    Raises:
        ValueError: it is none.
    """
    parts = list(_DURATION_PART.finditer(text))
    if text != "".join(part[0] for part in parts) or (not parts and text):
        raise ValueError(f"{text[:40]!r} is no duration; write e.g. 1h30m or 10s")
    return sum(float(part[1]) * _DURATION_UNITS[part[2]] for part in parts)
