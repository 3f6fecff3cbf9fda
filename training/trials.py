"""The trials of a search, to look at: a table and a page with plots."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from html import escape
from math import log10
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from rich.table import Table

from training.objective import SPECIFICITY
from training.search import LOGARITHMIC
from training.style import STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import optuna

__all__ = ["Trial", "best", "counted", "page", "read_trials", "table"]

_SHOWN = 10
_WIDTH, _HEIGHT = 300, 200
_LEFT, _TOP, _BOTTOM = 34, 24, 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial.

    Attributes
    ----------
    number : int
    state : str
        ``complete``, ``fail``, ``running`` or ``waiting``.
    value : float or None
        `training.objective.Judgement.value`, where the trial is complete.
    choice : mapping
        Parameter to value.
    sensitivities : mapping of str to float
        Of each class; empty unless the trial is complete.
    auroc : float or None
    again : int or None
        Number of the trial whose worker died first, where this one is that one done again.
    """

    number: int
    state: str
    value: float | None
    choice: Mapping[str, Any]
    sensitivities: Mapping[str, float]
    auroc: float | None
    again: int | None


def read_trials(study: optuna.Study) -> tuple[Trial, ...]:
    """Read every trial of a study, in the order of their numbers."""
    return tuple(
        Trial(
            number=trial.number,
            state=trial.state.name.lower(),
            value=trial.value if trial.state is TrialState.COMPLETE else None,
            choice=dict(trial.params),
            sensitivities=trial.user_attrs.get("sensitivities", {}),
            auroc=trial.user_attrs.get("auroc"),
            again=_again(trial),
        )
        for trial in study.get_trials(deepcopy=False)
    )


def _again(trial: optuna.trial.FrozenTrial) -> int | None:
    first = trial.user_attrs.get("first", trial.number)
    return None if first == trial.number else int(first)


def best(trials: Sequence[Trial]) -> list[Trial]:
    """Sort the complete trials, the best first, the earlier first where they are alike."""
    complete = [(trial.value, trial) for trial in trials if trial.value is not None]
    return [trial for _, trial in sorted(complete, key=lambda pair: (-pair[0], pair[1].number))]


def counted(trials: Sequence[Trial]) -> str:
    """Say how many trials there are of each state."""
    states = Counter(trial.state for trial in trials)
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no trials"


def table(trials: Sequence[Trial]) -> Table:
    """Lay out the best trials for a terminal."""
    shown = Table(
        title=f"best trials: sensitivity of each class at a specificity of {SPECIFICITY:g}",
        title_justify="left",
    )
    rows = _rows(best(trials)[:_SHOWN])
    for name in rows[0] if rows else ("trial",):
        shown.add_column(name, justify="right", overflow="fold")
    for row in rows:
        shown.add_row(*row.values())
    return shown


def page(trials: Sequence[Trial], described: str) -> str:
    """
    Draw one page of HTML that needs nothing beside it: the value over the trials, and over each parameter.

    Parameters
    ----------
    trials : sequence of Trial
    described : str
        Title of the page.
    """
    ordered = best(trials)
    plots = [_over_time(ordered)] if ordered else []
    plots += [_over_choice(ordered, name) for name in (ordered[0].choice if ordered else ())]
    rows = _rows(ordered)
    head = "".join(f"<th>{escape(name)}</th>" for name in (rows[0] if rows else ()))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row.values()) + "</tr>" for row in rows
    )
    title = escape(described)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>Trials: {escape(counted(trials))}. A dot is a complete trial; its height is the sensitivity of "
        f"its worst class at a specificity of {SPECIFICITY:g}. The films that chose the best trial flatter "
        "it: other films must judge it.</p>"
        f'<div class="flow">{"".join(plots)}</div><h2>Complete trials, the best first</h2>'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        "</body></html>\n"
    )


def _rows(ordered: Sequence[Trial]) -> list[dict[str, str]]:
    """Put trials into words, column by column."""
    return [
        {
            "trial": str(trial.number) if trial.again is None else f"{trial.number} ({trial.again} again)",
            "worst class": f"{min(trial.sensitivities.values(), default=0.0):.3f}",
            **{label.replace("_", " "): f"{value:.3f}" for label, value in trial.sensitivities.items()},
            "mean AUROC": "-" if trial.auroc is None else f"{trial.auroc:.4f}",
            **{name.replace("_", " "): f"{value:.3g}" for name, value in trial.choice.items()},
        }
        for trial in ordered
    ]


def _worst(trial: Trial) -> float:
    return min(trial.sensitivities.values(), default=0.0)


def _over_time(ordered: Sequence[Trial]) -> str:
    """Plot the worst sensitivity by trial, and the best so far."""
    in_turn = sorted(ordered, key=lambda trial: trial.number)
    points = [(float(trial.number), trial) for trial in in_turn]
    so_far, steps = 0.0, []
    for number, trial in points:
        so_far = max(so_far, _worst(trial))
        steps.append((number, so_far))
    ticks = {float(in_turn[0].number), float(in_turn[-1].number)}
    return _plot("best so far", points, {tick: f"{tick:g}" for tick in sorted(ticks)}, steps)


def _over_choice(ordered: Sequence[Trial], name: str) -> str:
    """Plot the worst sensitivity over one parameter."""
    scale = log10 if name in LOGARITHMIC else float
    chosen = [(float(trial.choice[name]), trial) for trial in ordered if name in trial.choice]
    ends = sorted({min(value for value, _ in chosen), max(value for value, _ in chosen)})
    ticks = {scale(end): f"{end:.3g}" for end in ends}
    return _plot(name.replace("_", " "), [(scale(value), trial) for value, trial in chosen], ticks, ())


def _plot(
    title: str,
    points: Sequence[tuple[float, Trial]],
    ticks: Mapping[float, str],
    steps: Sequence[tuple[float, float]],
) -> str:
    """Draw dots, and a line of steps, over an axis with `ticks`; heights are 0..1."""
    low, high = min(ticks), max(ticks)

    def x(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return _LEFT + 8 + share * (_WIDTH - 16)

    def y(value: float) -> float:
        return _TOP + (1 - value) * _HEIGHT

    marks = "".join(
        f'<text x="{_LEFT - 4}" y="{y(tick) + 3:.1f}" text-anchor="end">{tick:g}</text>'
        f'<path class="grid" d="M{_LEFT} {y(tick):.1f}h{_WIDTH}"/>'
        for tick in (0, 0.25, 0.5, 0.75, 1)
    )
    marks += "".join(
        f'<text x="{x(at):.1f}" y="{y(0) + 14:.1f}" text-anchor="middle">{escape(text)}</text>'
        for at, text in ticks.items()
    )
    if steps:
        path = f"M{x(steps[0][0]):.1f} {y(steps[0][1]):.1f}"
        path += "".join(f"H{x(at):.1f}V{y(value):.1f}" for at, value in steps[1:])
        marks += f'<path class="curve model" d="{path}"/>'
    dots = "".join(
        f'<circle class="point" cx="{x(at):.1f}" cy="{y(_worst(trial)):.1f}" r="4">'
        f"<title>trial {trial.number}: {_worst(trial):.3f}</title></circle>"
        for at, trial in points
    )
    width, height = _LEFT + _WIDTH + 12, _TOP + _HEIGHT + _BOTTOM
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}"><text class="title" x="{_LEFT + _WIDTH / 2}" y="14" '
        f'text-anchor="middle">{escape(title)}</text>{marks}{dots}</svg>'
    )
