"""What a day of the simulator came to: counts, latencies, failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cxr_pacs.simulator.examination import Examination, Failure, Outcome, Step

__all__ = ["Latency", "Summary", "percentile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of one step, in seconds."""

    count: int
    median: float
    p95: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Summarize at least one measurement."""
        return cls(
            count=len(seconds),
            median=percentile(seconds, 50),
            p95=percentile(seconds, 95),
            p99=percentile(seconds, 99),
            longest=max(seconds),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A day.

    Attributes
    ----------
    outcomes : mapping of Outcome to int
        How many examinations ended how.
    seconds : float
        From the first worklist query to the last report.
    latencies : mapping of Step to Latency
        Of the steps that were done.
    failures : tuple of Failure
    """

    outcomes: Mapping[Outcome, int]
    seconds: float
    latencies: Mapping[Step, Latency]
    failures: tuple[Failure, ...]

    @classmethod
    def of(
        cls,
        examinations: Sequence[Examination],
        queries: Sequence[float],
        seconds: float,
        failures: Sequence[Failure] = (),
    ) -> Summary:
        """Summarize examinations, worklist queries (seconds each), and failures before any examination."""
        counted = Counter(one.outcome for one in examinations)
        measured = {step: [one.seconds[step] for one in examinations if step in one.seconds] for step in Step}
        measured[Step.WORKLIST] += queries
        return cls(
            outcomes={outcome: counted[outcome] for outcome in Outcome},
            seconds=seconds,
            latencies={step: Latency.of(values) for step, values in measured.items() if values},
            failures=(*failures, *(one.failure for one in examinations if one.failure is not None)),
        )

    @property
    def studies_a_minute(self) -> float:
        """Rate of the examinations that ended well."""
        done = self.outcomes[Outcome.COMPLETED] + self.outcomes[Outcome.DISCONTINUED]
        return done / self.seconds * 60 if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """Give what ``--json`` prints."""
        return {
            "outcomes": dict(self.outcomes),
            "seconds": self.seconds,
            "studies_a_minute": self.studies_a_minute,
            "latencies": {step: asdict(latency) for step, latency in self.latencies.items()},
            "failures": [asdict(failure) for failure in self.failures],
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        yield f"{counts} in {self.seconds:.1f} s ({self.studies_a_minute:.0f} a minute)"
        if self.latencies:
            yield f"{'seconds':<20}{'count':>7}{'median':>9}{'95 %':>9}{'99 %':>9}{'longest':>9}"
        for step, one in self.latencies.items():
            figures = "".join(f"{value:>9.3f}" for value in (one.median, one.p95, one.p99, one.longest))
            yield f"{step:<20}{one.count:>7}{figures}"
        for failure in self.failures:
            study = f", study {failure.study_instance_uid}" if failure.study_instance_uid else ""
            yield f"failed: {failure.station_ae_title}{study}, {failure.step}: {failure.reason}"


def percentile(values: Sequence[float], share: float) -> float:
    """Smallest of `values` that `share` per cent of them do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]
