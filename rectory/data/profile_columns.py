"""What a column means, by its name in several languages and by its content."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rectory.data.card import Feature

# English, German, French, Spanish, Italian, Portuguese, Dutch; compared without accents.
_NAMES = {
    "user": "user customer client household member visitor account buyer shopper person reviewer subscriber player "
    "kunde kunden kundin kundennummer kundennr nutzer benutzer kaeufer kaufer utilisateur acheteur usuario cliente "
    "comprador utente klant gebruiker uid session",
    "item": "item product sku article movie film track song book asin isbn ean gtin offer listing video recipe "
    "stockcode artist artikel artikelnummer artikelnr produkt ware produit articulo producto prodotto articolo produto "
    "artigo iid game course",
    "time": "timestamp time date datetime ts created ordered purchased at when moment invoicedate datum zeit zeitpunkt "
    "uhrzeit bestelldatum kaufdatum fecha heure hora data quando tijd tijdstip unixtime",
    "event": "event action behavior behaviour activity interaction ereignis aktion evento accion evenement azione "
    "actie eventtype type typ",
    "value": "rating stars score quantity qty count plays playcount menge anzahl stueck stuck bewertung sterne note "
    "cantidad calificacion quantite quantita quantidade valutazione aantal duration dauer rate",
    "price": "price amount revenue sales total cost preis betrag umsatz precio importe prix montant prezzo importo "
    "preco prijs bedrag paid unitprice",
    "title": "title name titel bezeichnung titre nom nombre titulo titolo nome naam productname produktname",
    "image": "image img picture photo thumbnail bild foto imagen immagine afbeelding",
    "private": "email mail phone telefon telephone address adresse street strasse firstname lastname vorname nachname "
    "name zip zipcode postcode plz postleitzahl birthdate geburtsdatum iban password ip",
}
_WORDS = {role: frozenset(words.split()) for role, words in _NAMES.items()}
_ID_WORDS = frozenset({"id", "nr", "no", "number", "code", "nummer", "key", "uuid"})
_NOT_TIME = frozenset({"birth", "birthdate", "birthday", "geburtsdatum", "geburt", "updated", "delivery"})

_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%m/%d/%y")
_CLOCKS = (" %H:%M:%S", " %H:%M", "", " %I:%M %p", " %I:%M:%S %p")
_OTHERS = ("%d %b %Y", "%d %b %Y %H:%M", "%b %d, %Y", "%d/%b/%Y:%H:%M:%S %z")
_FORMATS = (*(day + clock for day in _DAYS for clock in _CLOCKS), *_OTHERS)
_ISO = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s?(?:Z|[+-]\d{2}:?\d{2})?)?"
_EPOCHS = {"epoch_s": 1.0, "epoch_ms": 1e3, "epoch_us": 1e6, "epoch_ns": 1e9}
_EPOCH_FIRST, _EPOCH_LAST = 6.3e8, 4.1e9  # 1990 to 2099, in seconds
_ENOUGH = 0.9
_PROBE_ROWS = 2_000


@dataclass(frozen=True)
class TimeGuess:
    """How a column writes time; `ambiguous`: day and month could be the other way round."""

    format: str
    times: pd.Series[pd.Timestamp]
    ambiguous: bool = False


def words(name: str) -> list[str]:
    """`invoiceDate:token` -> [invoice, date]; accents off, lower case."""
    plain = unicodedata.normalize("NFKD", name.partition(":")[0].replace("ß", "ss"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", plain)]


def name_score(name: str, role: str) -> float:
    """0: nothing in the name speaks for the role; up to 4."""
    parts = words(name)
    known = _WORDS[role]
    if not parts or (role == "time" and _NOT_TIME & set(parts)):
        return 0.0
    score = 3.0 if "".join(parts) in known else 2.0 if known & set(parts) else 0.0
    if not score:
        # German and Dutch write compounds: Bestelldatum, Kundennummer, Artikelnr.
        score = 1.0 if any(word in part for part in parts for word in known if len(word) >= 4) else 0.0
    if role in {"user", "item"}:
        if score and (_ID_WORDS & set(parts) or parts[-1].endswith(("nummer", "nr", "id"))):
            score += 1.0
        if {"name", "title", "category", "type", "group", "kategorie", "price"} & set(parts):
            score -= 1.5
    return max(score, 0.0)


def numbers(column: pd.Series, decimal: str = ".") -> pd.Series[float] | None:
    """The column as numbers when nearly all filled cells are; else None."""
    filled = column.dropna()
    if pd.api.types.is_bool_dtype(filled) or pd.api.types.is_datetime64_any_dtype(filled):
        return None
    if not pd.api.types.is_numeric_dtype(filled):
        text = filled.astype(str).str.strip()
        if decimal == ",":
            text = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        filled = pd.to_numeric(text, errors="coerce")
    return filled.astype(float) if len(filled) and filled.notna().mean() >= 0.95 else None


def decimal_mark(rows: pd.DataFrame) -> str:
    """`,` when more cells look like 3,99 than like 3.99."""
    cells = rows.head(_PROBE_ROWS).select_dtypes("object")
    text = pd.concat([cells[name] for name in cells] or [pd.Series(dtype=object)]).dropna().astype(str)
    comma = text.str.fullmatch(r"-?(?:\d+|\d{1,3}(?:\.\d{3})+),\d{1,4}").sum()
    return "," if comma > text.str.fullmatch(r"-?\d+\.\d{1,4}").sum() else "."


def time_guess(column: pd.Series) -> TimeGuess | None:
    """The format under which nearly all filled cells are moments between 1990 and 2099; None if there is none."""
    filled = column.dropna()
    if not len(filled):
        return None
    if pd.api.types.is_datetime64_any_dtype(filled):
        return TimeGuess("auto", pd.to_datetime(filled, utc=True))
    probe = filled.head(_PROBE_ROWS).astype(str).str.strip()
    for kind in _formats_of(filled, probe):
        times = _parse(filled, kind)
        if times.notna().mean() >= _ENOUGH:
            other = _swapped(kind)
            swapped = _parse(filled, other) if other else None
            if swapped is None or swapped.notna().mean() < _ENOUGH:
                return TimeGuess(kind, times)
            # Both fit (no day above 12). A log is mostly in order of time: the reading that keeps order is right.
            if _order(swapped) > _order(times):
                return TimeGuess(str(other), swapped, ambiguous=True)
            return TimeGuess(kind, times, ambiguous=True)
    return None


def _formats_of(filled: pd.Series, probe: pd.Series[str]) -> list[str]:
    if probe.str.fullmatch(_ISO).mean() >= _ENOUGH:
        return ["iso"]
    digits = pd.to_numeric(probe, errors="coerce")
    if digits.notna().mean() >= _ENOUGH:
        if probe.str.fullmatch(r"(?:19|20)\d{6}").mean() >= _ENOUGH:
            return ["%Y%m%d"]
        if probe.str.fullmatch(r"(?:19|20)\d{12}").mean() >= _ENOUGH and digits.median() > 1.9e13:
            return ["%Y%m%d%H%M%S"]
        middle = float(digits.median())
        return [kind for kind, scale in _EPOCHS.items() if _EPOCH_FIRST <= middle / scale <= _EPOCH_LAST]
    if pd.api.types.is_numeric_dtype(filled):
        return []
    fits = [(_parse(probe, kind).notna().mean(), kind) for kind in _FORMATS]
    return [kind for share, kind in sorted(fits, key=lambda fit: -fit[0]) if share >= _ENOUGH]


def _parse(column: pd.Series, kind: str) -> pd.Series[pd.Timestamp]:
    if kind in _EPOCHS:
        seconds = pd.to_numeric(column, errors="coerce") / _EPOCHS[kind]
        return pd.to_datetime(seconds.where(seconds.between(_EPOCH_FIRST, _EPOCH_LAST)), unit="s", utc=True)
    text = column.astype(str).str.strip()
    if kind == "iso":
        return pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    return pd.to_datetime(text, format=kind, utc=True, errors="coerce")


def _swapped(kind: str) -> str | None:
    pairs = {"%d/%m": "%m/%d", "%m/%d": "%d/%m", "%d-%m": "%m-%d", "%m-%d": "%d-%m"}
    return pairs[kind[:5]] + kind[5:] if kind[:5] in pairs else None


def _order(times: pd.Series[pd.Timestamp]) -> float:
    return float((times.diff().dropna() >= pd.Timedelta(0)).mean())


def feature_guess(name: str, column: pd.Series, decimal: str) -> Feature | str:
    """A feature, or the reason why the column is left out."""
    filled = column.dropna()
    distinct = filled.astype(str).nunique()
    if distinct < 2:
        return "the same in all rows" if distinct else "empty"
    as_numbers = numbers(column, decimal)
    if as_numbers is None:
        return _text_feature(name, filled.astype(str), distinct)
    codes = bool((as_numbers % 1 == 0).all()) and (distinct > 0.95 * len(filled) or bool(_ID_WORDS & set(words(name))))
    if distinct > 10 and not codes:
        return Feature(column=name, kind="numeric")
    return "another number for nearly each row" if distinct > 0.5 * len(filled) > 10 else Feature(column=name)


def _text_feature(name: str, text: pd.Series[str], distinct: int) -> Feature | str:
    if text.str.match(r"https?://").mean() > 0.5:
        return "web addresses"
    if (separator := _list_separator(text)) is not None:
        return Feature(column=name, kind="multi", separator=separator)
    if distinct <= 0.5 * len(text) or len(text) <= 10:
        return Feature(column=name)
    wordy = text.str.split().str.len().mean() >= 2.5
    return Feature(column=name, kind="text") if wordy else "another value for nearly each row"


def _list_separator(text: pd.Series[str]) -> str | None:
    """The character that splits cells into short values which come back in other cells."""
    for separator, share in (("|", 0.02), (";", 0.05), (",", 0.1), ("/", 0.3)):
        if text.str.contains(separator, regex=False).mean() < share:
            continue
        parts = text.str.split(separator, regex=False).explode().str.strip()
        # Commas and slashes stand in plain text too: there the parts must be fewer than the wholes.
        comes_back = parts.nunique() < 0.5 * len(parts) and (separator in "|;" or parts.nunique() < text.nunique())
        if comes_back and parts.str.split().str.len().mean() < 2.5:
            return separator
    return None


def best_column(rows: pd.DataFrame, role: str, candidates: Sequence[str]) -> str | None:
    """The candidate whose name speaks loudest for the role, the leftmost on a tie; None if no name does."""
    scored = [(name_score(name, role), -at, name) for at, name in enumerate(candidates) if name in rows]
    best = max(scored, default=(0.0, 0, ""))
    return best[2] if best[0] > 0 else None
