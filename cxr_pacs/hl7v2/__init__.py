"""HL7 version 2: messages over MLLP, and the orders in them. No database and no DICOM network."""

from __future__ import annotations

from cxr_pacs.hl7v2.acknowledgement import acknowledge
from cxr_pacs.hl7v2.message import Header, Message
from cxr_pacs.hl7v2.mllp import MllpListener
from cxr_pacs.hl7v2.orders import DEFAULT_FIELDS, Order, orders_of

__all__ = ["DEFAULT_FIELDS", "Header", "Message", "MllpListener", "Order", "acknowledge", "orders_of"]
