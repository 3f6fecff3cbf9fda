"""Tables of scores made up for tests: no network, no picture."""

from __future__ import annotations

import numpy as np

from training.evaluation import Baseline, Case, HeadScores, Model, ScoreTable

HEADS = {
    "binary": ("covid19", "bacterial_pneumonia"),
    "multiclass": ("covid19", "bacterial_pneumonia", "normal"),
}
MODEL = Model(name="made-up", version="1.0.0", digest="ab" * 32)


def case(number, label, **changes):
    facts = {
        "file": f"{number}.png",
        "patient": f"p{number // 2}",
        "label": label,
        "source": "here",
        "cohort": "adult",
        "view": "PA",
        "age": None,
    }
    return Case(**{**facts, **changes})


def scores(head, labels, probabilities, thresholds=0.5):
    shares = np.asarray(probabilities, float)
    return HeadScores(
        head=head, labels=labels, probabilities=shares, thresholds=np.broadcast_to(thresholds, shares.shape)
    )


def binary(*rows, thresholds=0.5):
    """Rows of a true label and the score of covid19; patients have two films each."""
    cases = tuple(case(number, label) for number, (label, _) in enumerate(rows))
    shares = [[score, 1 - score] for _, score in rows]
    return table(cases, (scores("binary", HEADS["binary"], shares, thresholds),))


def table(cases, heads, baselines=()):
    return ScoreTable(
        models=(MODEL,), manifests=("cd" * 32 + " test",), cases=cases, heads=heads, baselines=baselines
    )


def drawn(cases, lead, seed=0, heads=HEADS):
    """Scores whose true class has its logit raised by `lead`."""
    rng = np.random.default_rng(seed)
    made = []
    for head, labels in heads.items():
        logits = rng.normal(0, 1, (len(cases), len(labels)))
        for row, film in zip(logits, cases, strict=True):
            if film.label in labels:
                row[labels.index(film.label)] += lead
        powers = np.exp(logits)
        made.append(scores(head, labels, powers / powers.sum(axis=1, keepdims=True)))
    return tuple(made)


def cohorts(films_of_each=40):
    """Adults with all three classes and children without covid19; a patient has one film."""
    labels = {"adult": HEADS["multiclass"], "paediatric": HEADS["multiclass"][1:]}
    made = []
    for cohort, present in labels.items():
        for label in present:
            made += [
                case(
                    len(made) + i,
                    label,
                    patient=f"{cohort}-{label}-{i}",
                    cohort="adult?" if cohort == "adult" and i == 0 else cohort,
                    source="here" if cohort == "adult" else "kermany-paediatric",
                    view=("PA", "AP Supine")[i % 2] if cohort == "adult" else "AP",
                )
                for i in range(films_of_each)
            ]
    return tuple(made)


def judged_cohorts(lead=4.0, baseline_lead=0.5, films_of_each=40):
    cases = cohorts(films_of_each)
    weak = Baseline(name="size", cohort="", heads=drawn(cases, baseline_lead, seed=1))
    return table(cases, drawn(cases, lead), (weak,))
