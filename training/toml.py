"""Manifests as TOML, which Python reads but does not write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cxr_pacs.inference.manifest import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["to_toml"]


def to_toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """
    Write nested tables as TOML: plain values first, then tables and arrays of tables; codes inline.

    What is None is left out: TOML has no word for it.
    """
    plain = {k: v for k, v in table.items() if v is not None and not _is_table(v) and not _is_tables(v)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        name = ".".join((*path, key))
        if _is_table(value):
            lines += ["", f"[{name}]", to_toml(value, (*path, key))]
        elif _is_tables(value):
            for entry in value:
                lines += ["", f"[[{name}]]", to_toml(entry, (*path, key))]
    return "\n".join(lines) + ("" if path else "\n")


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != Code.model_fields.keys()


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and _is_table(value[0])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON leaves one control character as it is that TOML forbids.
    return json.dumps(value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # a TOML basic string, integer, float or boolean
