"""Put plausible items of patients that are nobody into the worklist, for tests."""

from __future__ import annotations

import argparse
import random
import time
from datetime import date, datetime

from cxr_pacs.cli.worklist.opening import add_config, opened
from cxr_pacs.settings import load_settings
from cxr_pacs.worklist.generator import Plan, generated

__all__ = ["configure", "run"]

_SEEDS = 10**6


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("many", type=int, metavar="N", help="how many items")
    parser.add_argument("--seed", type=int, metavar="N", help="the same items each time; else others")
    parser.add_argument("--first-day", type=_day, metavar="YYYYMMDD", help="by default today")
    parser.add_argument("--days", type=int, default=1, metavar="N", help="over how many days; by default one")
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    """Generate them; 0."""
    seed = random.SystemRandom().randrange(_SEEDS) if options.seed is None else options.seed
    plan = Plan(first_day=options.first_day or _today(), days=max(1, options.days))
    with opened(load_settings(options.config)) as worklist, worklist.begin() as connection:
        put = worklist.put(connection, generated(options.many, seed, plan), f"seed {seed}", time.time())
    print(f"{put.added} added, {put.changed} changed, {put.unchanged} as before (--seed {seed})")
    return 0


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007  a day has no zone


def _today() -> date:
    return date.today()  # noqa: DTZ011  a scheduled day is the site's own
