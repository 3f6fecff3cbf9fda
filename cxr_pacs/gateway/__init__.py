"""The durable work: the only place where the stages meet."""

from __future__ import annotations
