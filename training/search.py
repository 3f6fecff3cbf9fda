"""A search for hyper-parameters, by any number of workers that share one database."""

from __future__ import annotations

import fcntl
import logging
import threading
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from cxr_pacs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from training.recipe import Plan

__all__ = ["LOGARITHMIC", "Choice", "Search", "SearchError", "open_storage", "propose"]

LOGARITHMIC = ("learning_rate", "weight_decay")
"""Parameters that are drawn evenly on a logarithmic scale."""

_log = logging.getLogger(__name__)
_RETRIES = 3
_OPENINGS = 5
_DEAD_AFTER = 3  # heartbeats that are missed


class SearchError(ConfigurationError):
    """The database cannot be used, or holds another search of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One point of the search; everything but `weight_decay` and `batch` multiplies what the plan has.

    Attributes
    ----------
    learning_rate, smoothing, augmentation, outside : float
        Factors, of every stage alike.
    weight_decay : float
    batch : int
        Images a step.
    """

    learning_rate: float
    smoothing: float
    augmentation: float
    outside: float
    weight_decay: float
    batch: int

    def of(self, plan: Plan) -> Plan:
        """Change `plan` accordingly."""
        stages = tuple(
            replace(
                stage,
                learning_rate=stage.learning_rate * self.learning_rate,
                smoothing=stage.smoothing * self.smoothing,
                augmentation=stage.augmentation.scaled(self.augmentation),
                outside=stage.outside * self.outside,
            )
            for stage in plan.stages
        )
        return replace(plan, stages=stages, weight_decay=self.weight_decay, batch=self.batch)


def propose(trial: optuna.trial.BaseTrial) -> Choice:
    """Let `trial` choose."""
    return Choice(
        learning_rate=trial.suggest_float("learning_rate", 0.25, 4.0, log=True),
        smoothing=trial.suggest_float("smoothing", 0.0, 2.0),
        augmentation=trial.suggest_float("augmentation", 0.3, 1.6),
        outside=trial.suggest_float("outside", 0.0, 4.0),
        weight_decay=trial.suggest_float("weight_decay", 1e-3, 0.3, log=True),
        batch=trial.suggest_categorical("batch", (8, 16, 32)),
    )


@contextmanager
def open_storage(url: str, heartbeat: int) -> Iterator[optuna.storages.RDBStorage]:
    """
    Open the database of a search for a while, with its tables made where they are missing.

    Parameters
    ----------
    url : str
        As SQLAlchemy has it: ``sqlite:///file``, ``postgresql+psycopg://user@host/name``.
    heartbeat : int
        Seconds between two signs of life of a worker; one that misses three is taken for dead.

    Raises
    ------
    SearchError
        The URL is none, or the database does not answer.
    """
    storage = _connect(url, heartbeat)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connect(url: str, heartbeat: int) -> optuna.storages.RDBStorage:
    sqlite = url.startswith("sqlite")
    arguments: dict[str, Any] = {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True}
    for left in reversed(range(_OPENINGS)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                storage = optuna.storages.RDBStorage(
                    url,
                    engine_kwargs=arguments,
                    heartbeat_interval=heartbeat,
                    grace_period=_DEAD_AFTER * heartbeat,
                    heartbeat_stale_trial_callback=_again(),
                )
        except (ArgumentError, ImportError) as error:
            raise SearchError(f"{url!r} is no database that can be opened here ({error})") from error
        except DBAPIError as error:
            # Another worker may be making the same tables at this moment.
            if not left:
                raise SearchError(f"the database does not answer ({error.orig})") from error
        else:
            if sqlite:
                _read_and_write_as_one(storage)
            return storage
    raise AssertionError


def _again() -> optuna.storages.RetryHeartbeatStaleTrialCallback:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)


def _read_and_write_as_one(storage: optuna.storages.RDBStorage) -> None:
    """Lock SQLite from the first reading: else two workers read that a trial waits, and both take it."""

    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    def began(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()
    event.listen(storage.engine, "connect", connected)
    event.listen(storage.engine, "begin", began)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """One worker of a search.

    Attributes
    ----------
    storage : RDBStorage
        Of `open_storage`.
    name : str
        Of the study; all its workers have the same.
    settings : mapping
        What every worker must have alike, e.g. the digest of the films; kept with the study.
    seed : int
        Of the sampling: what a trial proposes follows from it, its number and the trials that are done.
    folder : Path
        Each trial has a run folder in it, so that another worker takes up what a dead one began.
    evaluate : callable
        From a choice, a run folder and a sink for notes on the trial to the value that is maximised.
    """

    storage: optuna.storages.RDBStorage
    name: str
    settings: Mapping[str, str | int | float]
    seed: int
    folder: Path
    evaluate: Callable[[Choice, Path, Callable[[str, Any], None]], float]

    def run(self, trials: int) -> optuna.Study:
        """
        Work until `trials` trials of all workers together are complete and none is running.

        A trial whose worker died is counted as failed and done again, from its last checkpoint. An interrupt
        (Ctrl-C) gives the trial back in the same way. Workers that look at the same instant may do a trial
        more than was wanted.

        Raises
        ------
        SearchError
            The study was begun with other settings, or the database stopped answering.
        """
        try:
            study = self._study()
            while self._one_more(study, trials):
                pass
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise SearchError(f"the database of the search failed ({error}); start again to go on") from error
        return study

    def _study(self) -> optuna.Study:
        study = optuna.create_study(
            storage=self.storage, study_name=self.name, direction="maximize", load_if_exists=True
        )
        for name, value in self.settings.items():
            if study.user_attrs.get(name, value) != value:
                raise SearchError(
                    f"study {self.name!r} was begun with {name} {study.user_attrs[name]}, not {value}; give "
                    "--study another name"
                )
            study.set_user_attr(name, value)
        return study

    def _one_more(self, study: optuna.Study, wanted: int) -> bool:
        """Do what is to be done next; whether there is more."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        self._bury_unbegun(study)
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        running = states.count(TrialState.RUNNING)
        if states.count(TrialState.COMPLETE) + running < wanted:
            self._work(study)
            return True
        if running:
            _log.info("%d trials of other workers are running", running)
            threading.Event().wait(self.storage.heartbeat_interval)
        return bool(running)

    def _work(self, study: optuna.Study) -> None:
        taken: list[optuna.Trial] = []
        faults: list[Exception] = []

        def objective(trial: optuna.Trial) -> float:
            taken.append(trial)
            try:
                return self._try(study, trial)
            except Exception as fault:
                faults.append(fault)
                raise

        try:
            study.optimize(objective, n_trials=1)
        except KeyboardInterrupt:
            if taken:
                _again()(study, study.get_trials()[taken[-1].number])
            raise
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            if any(not isinstance(fault, optuna.exceptions.UpdateFinishedTrialError) for fault in faults):
                raise
            # This worker stood still for so long that another one has finished its trial for it.
            _log.warning("trial %d was taken for dead; another worker does it again", taken[-1].number)

    def _try(self, study: optuna.Study, trial: optuna.Trial) -> float:
        # A trial that is done again has the notes of the one whose worker died.
        first = trial.user_attrs.get("first", trial.number)
        trial.set_user_attr("first", first)
        trial.set_user_attr("begun", trial.number)
        seed = np.random.SeedSequence((self.seed, trial.number)).generate_state(1)[0]
        study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        choice = propose(trial)
        _log.info("trial %d: %s", trial.number, asdict(choice))
        with _alone(self.folder / f"trial-{first}") as run:
            return self.evaluate(choice, run, trial.set_user_attr)

    def _bury_unbegun(self, study: optuna.Study) -> None:
        """Fail trials whose worker died before its first sign of life, which Optuna would leave running."""
        interval = self.storage.heartbeat_interval or 0
        long_ago = datetime.now() - timedelta(seconds=_DEAD_AFTER * interval)  # noqa: DTZ005 - as Optuna's
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            begun = trial.user_attrs.get("begun") == trial.number
            if not begun and trial.datetime_start is not None and trial.datetime_start < long_ago:
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                _again()(study, trial)


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """Hold a run folder; a worker that was wrongly taken for dead may still be in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
