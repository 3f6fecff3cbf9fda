"""Measurements of the whole; ``make bench`` runs them."""
