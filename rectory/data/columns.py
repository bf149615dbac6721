"""What `fetch` does to columns: ids become text, lists become separated text."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from rectory.data.jsonlines import LIST_MARK

_EXACT_FLOAT = 2.0**53


def as_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as text: 123 and 123.0 give "123" (a missing id makes databases and pandas turn integers into floats).

    Fractions keep their digits; NaN and "" become null.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64()))
        integral = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), _EXACT_FLOAT))
        whole = pc.if_else(integral, column, 0.0).cast(pa.int64()).cast(pa.string())
        return pc.if_else(integral, whole, column.cast(pa.string()))
    if pa.types.is_decimal(column.type):
        # 123.00 is id 123; a decimal that has a fraction keeps its text.
        text = column.cast(pa.string())
        return pc.replace_substring_regex(text, r"^(-?\d+)\.0+$", r"\1")
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def join_lists(table: pa.Table, separators: Mapping[str, str]) -> pa.Table:
    """List columns as text, their values joined by the card's separator for that column (else `|`)."""
    for at, field in enumerate(table.schema):
        separator = separators.get(field.name, "|")
        column = table.column(at)
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            joined = [pc.binary_join(chunk.cast(pa.list_(pa.string())), separator) for chunk in column.chunks]
            table = table.set_column(at, field.name, pa.chunked_array(joined, pa.string()))
        elif pa.types.is_string(field.type) and separator != LIST_MARK:
            marked = pc.any(pc.match_substring(column, LIST_MARK)).as_py()
            if marked:
                table = table.set_column(at, field.name, pc.replace_substring(column, LIST_MARK, separator))
    return table
