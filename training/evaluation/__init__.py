"""Judges a model: a table of scores in, figures with intervals out, beside what trivial baselines reach."""

from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.metrics import metrics
from training.evaluation.table import (
    Baseline,
    Case,
    HeadScores,
    Model,
    ScoreTable,
    pool,
    read_table,
    write_table,
)

__all__ = [
    "Baseline",
    "Case",
    "Evaluation",
    "HeadScores",
    "Model",
    "ScoreTable",
    "evaluate",
    "metrics",
    "pool",
    "read_table",
    "write_table",
]
