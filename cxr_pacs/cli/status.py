"""Tell how the gateway stands: what waits, what needs a person, how each destination answers."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from cxr_pacs.cli.times import moment, since
from cxr_pacs.errors import NothingToShow, SpoolUnavailable
from cxr_pacs.gateway.commitment_standing import CommitmentStanding, RequestStanding
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.message_standing import MessageStanding
from cxr_pacs.gateway.standing import DestinationStanding, Standing, answers, standing
from cxr_pacs.gateway.watch import WatchStanding, watch_standings
from cxr_pacs.gateway.watermark import DiskUsage, disk_usage
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

WELL, ERROR, NEEDS_A_PERSON = 0, 1, 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML) of the gateway")
    parser.add_argument("--json", action="store_true", help="for a monitor; times in seconds since the epoch")


def run(options: argparse.Namespace) -> int:
    """Print it; 0, 3 where something needs a person, 1 where there is no ledger."""
    settings = load_settings(options.config) if options.config else Settings()
    try:
        with looking(settings) as ledger:
            problems = answers(settings)
            with ledger.begin() as connection:
                watches = watch_standings(connection, settings)
                found = standing(connection, problems, watches, disk_usage(settings.spool))
    except (NothingToShow, SpoolUnavailable) as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return ERROR
    if options.json:
        print(json.dumps(asdict(found) | {"needs_a_person": found.needs_a_person}, indent=1))
    else:
        print("\n".join(_lines(found, time.time())))
    return NEEDS_A_PERSON if found.needs_a_person else WELL


def _lines(found: Standing, now: float) -> Iterator[str]:
    yield f"studies       {found.studies}; {found.without_report} without the report that they should have"
    decided = found.decided
    yield (
        f"instances     {decided['accept']} accepted, {decided['skip']} skipped, {decided['hold']} held, "
        f"{decided['refuse']} refused"
    )
    waiting = f"{found.waiting} for their analysis, {found.unreported} for their report"
    if found.oldest_waiting is not None:
        waiting += f"; the first came {moment(found.oldest_waiting)} ({since(found.oldest_waiting, now)} ago)"
    yield f"waiting       {waiting}"
    if found.failing:
        yield f"{'':<13} {found.failing} failed again and again and are tried again: {found.last_failure}"
    yield f"disk          {_disk(found.disk)}"
    for watch in found.watches:
        yield from _watch(watch)
    commitments = {one.destination: one for one in found.commitments}
    for one in found.destinations:
        yield from _destination(one, now)
        if one.name in commitments:
            yield from _commitment(commitments[one.name], now)
    if not found.destinations:
        yield "destinations  none: results stay in the spool"
    requests = found.requests
    if requests != RequestStanding(told=0, waiting=0, failed=0):
        yield (
            f"modalities    asked for commitment: {requests.told} told, {requests.waiting} to be told, "
            f"{requests.failed} not told"
        )
    for told in found.messages:
        yield from _message(told, now)


def _disk(disk: DiskUsage) -> str:
    said = f"{disk.share:.1%} in use, {disk.free / 1e9:.1f} GB free"
    return f"{said}; new images are refused (A700)" if disk.refusing else said


def _watch(one: WatchStanding) -> Iterator[str]:
    counts = f"{one.taken} files taken in, {one.refused} refused, {one.failed} failed"
    yield f"folder        {one.name}: {one.problem or counts}"
    if one.failed and one.last_reason:
        yield f"{'':<13} the last one: {one.last_reason} (`cxr-pacs why FOLDER` names them)"


def _destination(one: DestinationStanding, now: float) -> Iterator[str]:
    yield f"{one.name:<13} {'answers' if one.problem is None else one.problem}"
    yield f"{'':<13} {one.delivered} delivered, {one.waiting} waiting, {one.parked} parked"
    if one.oldest_waiting is not None and one.next_try is not None:
        waited = since(one.oldest_waiting, now)
        yield f"{'':<13} the first waits for {waited}; next try {moment(one.next_try)}"
    if one.last_reason:
        yield f"{'':<13} {one.last_reason}"


def _message(one: MessageStanding, now: float) -> Iterator[str]:
    waits = "" if one.oldest_waiting is None else f" for {since(one.oldest_waiting, now)}"
    counts = f"{one.delivered} told, {one.waiting} waiting{waits}, {one.parked} parked"
    yield f"{one.peer:<13} {one.what}: {counts}"
    if one.last_reason:
        yield f"{'':<13} {one.last_reason}"


def _commitment(one: CommitmentStanding, now: float) -> Iterator[str]:
    waits = "" if one.oldest_waiting is None else f" for {since(one.oldest_waiting, now)}"
    counts = f"{one.committed} committed, {one.waiting} to be committed{waits}, {one.failed} not committed"
    yield f"{'':<13} {counts}"
    if one.last_reason:
        yield f"{'':<13} {one.last_reason}"
