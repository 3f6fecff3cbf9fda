"""An answer to a worklist query: what was asked back of an item, in a character set that the asker knows."""

from __future__ import annotations

from cxr_pacs.worklist.character_sets import in_a_set_of
from cxr_pacs.worklist.elements import Elements, write_elements
from cxr_pacs.worklist.query import Query

__all__ = ["encoded_answer"]


def encoded_answer(query: Query, item: Elements, *, explicit: bool) -> bytes:
    """Encode what `query` asks back of an item that it matches, in Explicit or Implicit VR Little Endian."""
    return write_elements(in_a_set_of(query.character_sets, query.cut(item)), explicit=explicit)
