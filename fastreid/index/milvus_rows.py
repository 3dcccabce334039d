"""Rows and conditions as Milvus takes them.

Conditions are expressions, in which texts would need quoting. So texts are compared in a form of two letters per byte
(`armoured`), which has nothing to quote and of which a part is a part of the text.
"""

import json
from typing import Any

import numpy as np

from fastreid.index.figures import DATE_COLUMNS, TEXT_COLUMNS, Figures
from fastreid.index.server_rows import ADDED, REMOVED, ROW, VECTOR, Condition, Permitted, columns_of

LENGTH = 65_535  # bytes of a text in Milvus
KEYS = ("figure_id", "patent", "locarno", "class_code", "office", "view", "applicant", "title_folded")
NUMBERS = (ROW, ADDED, REMOVED, *DATE_COLUMNS)


def armoured(text: str) -> str:
    """Return a text in two letters per byte: a to p for its upper half, A to P for the lower."""
    return "".join(chr(97 + (byte >> 4)) + chr(65 + (byte & 15)) for byte in text.encode())


def key_of(column: str) -> str:
    """Name of the column that holds the armoured values of ``column``."""
    return f"{column}_key"


def expression_of(permitted: Permitted) -> str:
    """Return the conditions as an expression of Milvus."""
    version = permitted.version
    found = [f"{ADDED} <= {version} and ({REMOVED} == 0 or {REMOVED} > {version})"]
    for condition in permitted.conditions:
        found.append("(" + " or ".join(_one(column, condition) for column in condition.columns) + ")")
    return " and ".join(found)


def _one(column: str, condition: Condition) -> str:
    if condition.sign in ("<", ">", ">="):
        return f"{column} {condition.sign} {int(condition.value)}"
    if condition.sign == "contains":
        return f'{key_of(column)} like "%{armoured(condition.value)}%"'
    values = json.dumps([armoured(value) for value in condition.value])
    return f"{key_of(column)} in {values}" if condition.sign == "in" else f"not ({key_of(column)} in {values})"


def rows_of(figures: Figures, vectors: np.ndarray, first: int, version: int) -> list[dict[str, Any]]:
    """Return new rows, numbered from ``first``."""
    columns, rows = columns_of(figures), []
    for place in range(len(figures)):
        row = {name: columns[name][place] for name in (*TEXT_COLUMNS, *DATE_COLUMNS)}
        row |= {key_of(name): armoured(columns[name][place]) for name in KEYS}
        rows.append({**row, ROW: first + place, ADDED: version, REMOVED: 0, VECTOR: vectors[place].tolist()})
    return rows


def make_collections(
    client, collection: str, dim: int, index: dict[str, Any], *, shards: int, partition_key: str, partitions: int
) -> None:
    """Make the collections of rows, with an index of vectors, and of the manifest."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    for name in NUMBERS:
        schema.add_field(name, DataType.INT64, is_primary=name == ROW)
    for name in (*TEXT_COLUMNS, *map(key_of, KEYS)):
        divides = {"is_partition_key": True} if partition_key and name == key_of(partition_key) else {}
        schema.add_field(name, DataType.VARCHAR, max_length=LENGTH, **divides)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dim)
    layout = {"num_shards": shards, **({"num_partitions": partitions} if partition_key else {})}
    _make(client, collection, schema, {"field_name": VECTOR, **index}, **layout)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("content", DataType.VARCHAR, max_length=LENGTH)
    schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # Milvus wants a vector in every collection
    flat = {"field_name": "unused", "index_type": "FLAT", "metric_type": "L2"}
    _make(client, f"{collection}_manifest", schema, flat)
    client.load_collection(f"{collection}_manifest")


def _make(client, name: str, schema, index: dict[str, Any], **layout: int) -> None:
    params = client.prepare_index_params()
    params.add_index(**index)
    # without index_params, with which it would be loaded at once, in one replica
    client.create_collection(name, schema=schema, consistency_level="Strong", **layout)
    client.create_index(name, params)
