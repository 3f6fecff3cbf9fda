"""``cxr-train search``: hyper-parameters, by as many workers as run the same command."""

from __future__ import annotations

import argparse
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from training.cli.options import check_outputs, count, effort, seed
from training.corpus import CorpusError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.packed import Packed

__all__ = ["add"]

_NARROWEST = 170
_EPILOG = """\
The same command on several machines, or several times on one, is one search with several workers: over an
SQLite file they must see the same disk, over PostgreSQL only the database. A worker that dies, even by
kill -9, leaves its trial to the others, which go on from its last checkpoint where they see its --run folder.
Started again, a search goes on; with a greater --trials it goes further.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "search",
        help="search hyper-parameters: sensitivity of the worst class first",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--packed", type=Path, required=True, metavar="FILE.npz", help="of cxr-train pack")
    parser.add_argument("--run", type=Path, required=True, dest="folder", metavar="DIR", help="run folder")
    parser.add_argument(
        "--study", type=_name, required=True, help="name of the search in its database and in its run folder"
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME (default: search.db in the run folder)",
    )
    parser.add_argument(
        "--trials", type=count, required=True, metavar="N", help="complete ones, of all workers together"
    )
    parser.add_argument(
        "--effort", type=effort, default=0.1, help="multiplies every stage's length (default: 0.1)"
    )
    parser.add_argument("--seed", type=seed, default=20261123, help="of the proposals and of every fit")
    parser.add_argument(
        "--heartbeat",
        type=count,
        default=20,
        metavar="SECONDS",
        help="between two signs of life; a worker that misses three is taken for dead (default: 20)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.html", help="write a page with all trials")
    parser.set_defaults(run=_run)


def _name(text: str) -> str:
    if not text or text.startswith(".") or "/" in text:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be the name of a folder")
    return text


def _run(options: argparse.Namespace) -> None:
    # Keras is slow to import, and only this command needs Optuna.
    from training.objective import HEAD, FitAndJudge, check_classes  # noqa: PLC0415
    from training.packed import read_packed  # noqa: PLC0415
    from training.recipe import HEADS, from_nothing  # noqa: PLC0415
    from training.search import Search, open_storage  # noqa: PLC0415
    from training.trials import counted, page, read_trials, table  # noqa: PLC0415

    check_outputs(options.plot)
    packed = read_packed(options.packed)
    training, judging = _part(packed, "train", options), _part(packed, "val", options)
    check_classes(judging.labels, HEADS[HEAD])
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in ("alembic", "optuna"):
        logging.getLogger(name).setLevel(logging.WARNING)
    url = options.storage or f"sqlite:///{options.folder.resolve() / 'search.db'}"
    with open_storage(url, options.heartbeat) as storage:
        search = Search(
            storage=storage,
            name=options.study,
            settings={
                "films": hashlib.sha256(options.packed.read_bytes()).hexdigest(),
                "effort": options.effort,
                "seed": options.seed,
            },
            seed=options.seed,
            folder=options.folder / options.study,
            evaluate=FitAndJudge(
                training=training,
                judging=judging,
                plan=from_nothing(options.effort, options.seed),
                report=_say,
            ),
        )
        trials = read_trials(search.run(options.trials))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _NARROWEST))
    console.print(table(trials))
    print(f"{options.study}: {counted(trials)}")
    if options.plot is not None:
        options.plot.write_text(page(trials, f"Search {options.study}"), encoding="utf-8")


def _part(packed: Packed, split: str, options: argparse.Namespace) -> Packed:
    films = packed.split(split)
    if not len(films):
        raise CorpusError(f"{options.packed} has no film of split {split}")
    return films


def _say(trial: str, line: Mapping[str, Any]) -> None:
    logging.getLogger(__name__).info(
        "%s, stage %d: epoch %d of %d, loss %.4f, %.1f images/s",
        trial,
        line["stage"],
        line["epoch"],
        line["of"],
        line["loss"],
        line["images_per_second"],
    )
