"""An evaluation as a JSON document."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from training.evaluation.evaluate import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.evaluation.evaluate import Evaluation, Gain, HeadFigures
    from training.evaluation.figures import Figure, Key
    from training.evaluation.table import Model

__all__ = ["document", "identity"]

_DIGITS = 6


def document(evaluation: Evaluation) -> dict[str, Any]:
    """
    Make what ``cxr-train evaluate --json`` writes; what could not be measured is None.

    Returns
    -------
    dict
        ``model`` (name, version, digest), ``manifest`` (digest), ``interval``;
        ``rows``: by row ``n``, ``patients`` and by head its figures, ``{"value", "low", "high"}`` each, those
        of a class under the class's name;
        ``baselines``: by title an object with such ``rows``, of the rows where the baseline competes;
        ``gain``: by row, head and figure the model's lead over the best baseline.
    """
    table = evaluation.table
    baselines: dict[str, dict[str, Any]] = {}
    for name, row in evaluation.rows.items():
        for title, heads in row.baselines.items():
            rows = baselines.setdefault(title, {"rows": {}})["rows"]
            rows[name] = _row(len(row.films), evaluation.patients(name), heads)
    return {
        "model": identity(table.models),
        "models": [identity([model]) for model in table.models],
        "manifest": {"digest": table.manifests[0].split()[0] if table.manifests else None},
        "manifests": list(table.manifests),
        "interval": INTERVAL,
        "rows": {
            name: _row(len(row.films), evaluation.patients(name), row.heads)
            for name, row in evaluation.rows.items()
        },
        "baselines": baselines,
        "gain": {
            name: {head: _nested(gains, _gain) for head, gains in row.gains.items()}
            for name, row in evaluation.rows.items()
        },
    }


def identity(models: Sequence[Model]) -> dict[str, str]:
    """Name the model; of several pooled ones the digest is the SHA-256 of theirs, one after the other."""
    first = models[0]
    if len(models) == 1:
        return {"name": first.name, "version": first.version, "digest": first.digest}
    return {
        "name": " + ".join(dict.fromkeys(model.name for model in models)),
        "version": f"{len(models)} models pooled",
        "digest": hashlib.sha256("".join(model.digest for model in models).encode()).hexdigest(),
    }


def _row(films: int, patients: int, heads: Mapping[str, HeadFigures]) -> dict[str, Any]:
    return {"n": films, "patients": patients} | {name: _head(head) for name, head in heads.items()}


def _head(head: HeadFigures) -> dict[str, Any]:
    judged = head.judged
    return {
        "n": len(judged.true),
        "patients": int(judged.patients.max()) + 1,
        "films": {label: int((judged.true == i).sum()) for i, label in enumerate(judged.labels)},
        **_nested(head.figures, _figure),
        "confusion": {
            "rows": "true class",
            "columns": "likeliest class",
            "labels": list(judged.labels),
            "counts": judged.confusion.tolist(),
        },
    }


def _nested(figures: Mapping[Key, Any], write: Any) -> dict[str, Any]:
    """Figures by name, and beneath it by class where they are of one."""
    nested: dict[str, Any] = {}
    for (name, label), figure in figures.items():
        if label:
            nested.setdefault(name, {})[label] = write(figure)
        else:
            nested[name] = write(figure)
    return nested


def _figure(figure: Figure | None) -> dict[str, float] | None:
    if figure is None:
        return None
    return {
        "value": round(figure.value, _DIGITS),
        "low": round(figure.low, _DIGITS),
        "high": round(figure.high, _DIGITS),
    }


def _gain(gain: Gain) -> dict[str, float | str]:
    return {
        "value": round(gain.value, _DIGITS),
        "low": round(gain.low, _DIGITS),
        "high": round(gain.high, _DIGITS),
        "baseline": gain.baseline,
        "baseline_value": round(gain.baseline_value, _DIGITS),
    }
