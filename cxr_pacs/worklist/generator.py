"""Plausible worklist items of patients that are nobody, for tests, benchmarks and demonstrations."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from cxr_pacs.worklist.assembling import assembled
from cxr_pacs.worklist.items import WorklistItem

__all__ = ["Plan", "generated"]

# Person names as PN: alphabetic, ideographic and phonetic group; of many scripts and character sets.
_NAMES: Final = (
    ("Archer^Flora", "Brown^William^Lee", "Smith-Jones^Mary^^Dr", "O'Neill^Sean", "de la Cruz^Maria^Jose"),
    ("Müller^Jürgen", "Ångström^Åsa", "Núñez^Íñigo", "Lefèvre^Chloé", "Sørensen^Bjørn", "Łukasik^Żaneta"),
    ("Люксембург^Роза", "Иванова^Анна^Петровна"),
    ("Διονυσίου^Ελένη",),
    ("قباني^لنزار",),
    ("שרון^דבורה",),
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Suzuki^Hanako=鈴木^花子=すずき^はなこ"),
    ("Hong^Gildong=洪^吉洞=홍^길동",),
    ("Zhang^XiaoDong=张^小东", "Wang^XiaoLi=王^小丽"),
    ("Buc^Jérôme", "สมชาย^ใจดี"),
)
# Procedure, and what its views are called.
_PROCEDURES: Final = (
    ("RPID-CXR-1", "Chest, one view"),
    ("RPID-CXR-2", "Chest, PA and lateral"),
    ("RPID-CXR-P", "Chest, portable"),
    ("RPID-HAND", "Hand, two views"),
    ("RPID-ABD", "Abdomen, supine"),
)
_PHYSICIANS: Final = ("Referrer^Ada", "Überweiser^Uwe", "Ordoñez^Luz", "Physician^Pat^^Dr")
_PRIORITIES: Final = ("ROUTINE", "ROUTINE", "ROUTINE", "HIGH", "STAT")
_FIRST_HOUR: Final = 7
_LAST_HOUR: Final = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where and when the generated steps take place.

    Attributes
    ----------
    first_day : date
    days : int
        How many days, from 1 on.
    stations : tuple of (str, str)
        AE title and modality of each.
    """

    first_day: date
    days: int = 1
    stations: tuple[tuple[str, str], ...] = (("DX1", "DX"), ("DX2", "DX"), ("CR1", "CR"), ("CR2", "CR"))


def generated(many: int, seed: int, plan: Plan) -> Iterator[WorklistItem]:
    """
    Draw items; the same arguments give the same items, and another seed gives other orders.

    Each is one order of one requested procedure; some patients have several.

    Parameters
    ----------
    many : int
    seed : int
    plan : Plan
    """
    drawn = random.Random(seed)  # noqa: S311  no secret depends on it
    patients: list[dict[str, str]] = []
    for number in range(many):
        if not patients or drawn.random() < 0.9:  # the others come again
            patients.append(_patient(drawn, seed, len(patients)))
        values = drawn.choice(patients[-20:]) | _order(drawn, seed, number, plan)
        yield WorklistItem.of(assembled(values))


def _patient(drawn: random.Random, seed: int, number: int) -> dict[str, str]:
    born = date(1930, 1, 1) + timedelta(days=drawn.randrange(90 * 365))
    return {
        "PatientName": drawn.choice(drawn.choice(_NAMES)),
        "PatientID": f"P{seed}-{number:05d}",
        "IssuerOfPatientID": "GENERATED",
        "PatientBirthDate": born.strftime("%Y%m%d"),
        "PatientSex": drawn.choice("FMO"),
    }


def _order(drawn: random.Random, seed: int, number: int, plan: Plan) -> dict[str, str]:
    station, modality = drawn.choice(plan.stations)
    procedure, description = drawn.choice(_PROCEDURES)
    day = plan.first_day + timedelta(days=drawn.randrange(plan.days))
    minutes = drawn.randrange(_FIRST_HOUR * 12, _LAST_HOUR * 12) * 5
    # Within the 16 characters of SH, and not the numbers of another seed.
    stem = f"{seed % 10**7:d}.{number:05d}"
    return {
        "AccessionNumber": f"A{stem}",
        "RequestedProcedureID": f"R{stem}",
        "ScheduledProcedureStepID": f"S{stem}",
        "StudyInstanceUID": f"2.25.{drawn.getrandbits(122) + 1}",
        "RequestedProcedureDescription": description,
        "RequestedProcedureCodeSequence.CodeValue": procedure,
        "RequestedProcedureCodeSequence.CodingSchemeDesignator": "99GENERATED",
        "RequestedProcedureCodeSequence.CodeMeaning": description,
        "RequestedProcedurePriority": drawn.choice(_PRIORITIES),
        "ReferringPhysicianName": drawn.choice(_PHYSICIANS),
        "Modality": modality,
        "ScheduledStationAETitle": station,
        "ScheduledStationName": station,
        "ScheduledProcedureStepStartDate": day.strftime("%Y%m%d"),
        "ScheduledProcedureStepStartTime": f"{minutes // 60:02d}{minutes % 60:02d}00",
        "ScheduledProcedureStepDescription": description,
    }
