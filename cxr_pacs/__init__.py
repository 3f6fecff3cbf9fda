"""Chest-radiograph AI inside the PACS: a radiograph arrives, its findings go back to the same study."""

__version__ = "0.4.0"
