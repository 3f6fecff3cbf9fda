"""Take worklist items, perform their steps, store images, ask for commitment; many at once."""

from __future__ import annotations

import argparse
import json
import re
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from cxr_pacs.cli.addresses import peer
from cxr_pacs.dimse import Peer
from cxr_pacs.simulator import (
    Commitments,
    Modality,
    Plan,
    Servers,
    Wanted,
    default_films,
    films_in,
    play,
)

__all__ = ["configure", "run"]

WELL, FAILED = 0, 1
_ANY = "SIMULATOR"
_DAYS = re.compile(r"\d{8}(-\d{8})?")
_PATIENCE = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("peer", type=peer, metavar="AE@HOST:PORT", help="who has all services")
    parser.add_argument(
        "--worklist", type=peer, metavar="AE@HOST:PORT", help="who has the worklist, where another"
    )
    parser.add_argument("--store", type=peer, metavar="AE@HOST:PORT", help="who takes the images")
    for name, what in (("mpps", "who is told of steps"), ("commitment", "who is asked for commitment")):
        parser.add_argument(
            f"--{name}", type=_peer_or_none, metavar="AE@HOST:PORT", help=f"{what}; none: nobody"
        )
    parser.add_argument(
        "--station",
        type=_title,
        action="append",
        metavar="AE",
        help="one modality with this AE title and the items scheduled for it; may be repeated. "
        "Without it one, SIMULATOR, takes the items of all stations",
    )
    parser.add_argument("--modality", default="", metavar="CODE", help="items of this modality, such as DX")
    parser.add_argument(
        "--date", type=_days, metavar="DATE", help="items of 20261124, 20261124-20261130 or today"
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="CR and DX images whose pictures are taken"
    )
    parser.add_argument("--count", type=_positive, metavar="N", help="examine so many items at most")
    parser.add_argument(
        "--rate",
        type=_more_than_nothing,
        metavar="N",
        help="begin so many studies a minute; without it, as fast as possible",
    )
    parser.add_argument(
        "--at-once",
        type=_positive,
        default=1,
        metavar="N",
        help="examinations of one modality at the same time",
    )
    parser.add_argument(
        "--discontinued", type=_share, default=0.0, metavar="SHARE", help="break off this share, 0 to 1"
    )
    parser.add_argument(
        "--listen",
        type=_positive,
        metavar="PORT",
        help="where reports on commitment may come later; the second modality listens at the next port, and "
        "so on. Without it each association stays open until its report",
    )
    parser.add_argument(
        "--patience",
        type=_more_than_nothing,
        default=_PATIENCE,
        metavar="SECONDS",
        help="wait so long for a report; %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="for a program; seconds")


def run(options: argparse.Namespace) -> int:
    """Play and print the summary; 1 where anything failed."""
    films = films_in(options.images) if options.images else default_films()
    servers = _servers(options)
    plan = Plan(
        count=options.count, rate=options.rate, at_once=options.at_once, discontinued=options.discontinued
    )
    with ExitStack() as stack:
        modalities = []
        for number, title in enumerate(dict.fromkeys(options.station or [_ANY])):
            wanted = Wanted(
                station=title if options.station else "", modality=options.modality, days=options.date or ""
            )
            commitments = None
            if servers.commitment is not None:
                port = options.listen + number if options.listen else None
                commitments = Commitments(title, servers.commitment, port, options.patience)
                stack.enter_context(commitments)
            modalities.append(Modality(title, servers, wanted, commitments))
        summary = play(modalities, films, plan)
    print(json.dumps(summary.as_json(), indent=1) if options.json else "\n".join(summary.lines()))
    return FAILED if summary.failures else WELL


def _servers(options: argparse.Namespace) -> Servers:
    return Servers(
        worklist=options.worklist or options.peer,
        archive=options.store or options.peer,
        performed=options.peer if options.mpps is None else options.mpps or None,
        commitment=options.peer if options.commitment is None else options.commitment or None,
    )


def _peer_or_none(text: str) -> Peer | str:
    return "" if text == "none" else peer(text)


def _title(text: str) -> str:
    return peer(f"{text}@localhost:104").ae_title


def _days(text: str) -> str:
    if text == "today":
        return f"{date.today():%Y%m%d}"  # noqa: DTZ011  a scheduled day is the site's own
    if not _DAYS.fullmatch(text):
        raise argparse.ArgumentTypeError("neither YYYYMMDD nor YYYYMMDD-YYYYMMDD nor today")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("not a whole number above 0")
    return int(text)


def _more_than_nothing(text: str) -> float:
    number = _number(text)
    if not number > 0:
        raise argparse.ArgumentTypeError("not a number above 0")
    return number


def _share(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("not a number from 0 to 1")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError("not a number") from None
