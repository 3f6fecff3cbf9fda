"""Who reads: threads of this process, processes of this host, or the nodes of a Ray cluster.

Decoders, OpenCV and the network let go of Python's lock, so that threads share one network in memory and fill
its batches. What draws and writes objects holds the lock: on a CPU processes are faster.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from cxr_pacs.errors import ConfigurationError
from cxr_pacs.gateway.bulk.outcome import FileOutcome, StudyOutcome
from cxr_pacs.gateway.bulk.reader import BulkReader
from cxr_pacs.gateway.bulk.task import BulkTask
from cxr_pacs.gateway.media import MediaFile
from cxr_pacs.gateway.service import open_engine

__all__ = ["Processes", "RayWorkers", "Threads", "Workers", "in_flight"]


_PATIENCE = 10.0  # seconds
_ENDED = "Failed: what read it ended, and ended again when it read nothing else ({})."
_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}

_Key = TypeVar("_Key")
_Work = TypeVar("_Work")
_Result = TypeVar("_Result")
Images = Sequence[tuple[MediaFile, FileOutcome]]


class Workers(Protocol):
    """Who reads and reports.

    Attributes
    ----------
    at_once : int
        How much work is worth having in flight: more would only wait.
    """

    at_once: int

    def read(self, file: MediaFile) -> Future[FileOutcome]:
        """As `BulkReader.read`."""
        ...

    def report(self, images: Images) -> Future[StudyOutcome]:
        """As `BulkReader.report`."""
        ...


def in_flight(
    submit: Callable[[_Work], Future[_Result]],
    at_once: int,
    work: Iterable[tuple[_Key, _Work]],
    stopped: Callable[[], bool],
    lost: Callable[[str], _Result],
) -> Iterator[tuple[_Key, _Result]]:
    """Give each result with its key, as it comes; memory holds those in flight.

    Once `stopped`, what is in flight is finished, and nothing more is begun. What was in flight when a worker
    ended (BrokenExecutor) is done again, alone; where one ends then, too, the result is what `lost` makes of
    the reason.
    """
    pending: dict[Future[_Result], tuple[_Key, _Work]] = {}
    again: deque[tuple[_Key, _Work]] = deque()
    coming = iter(work)
    while True:
        alone = bool(again) and not pending and not stopped()
        if alone:
            suspect = again.popleft()
            pending[submit(suspect[1])] = suspect
        while not again and not alone and len(pending) < at_once and not stopped():
            following = next(coming, None)
            if following is None:
                break
            pending[submit(following[1])] = following
        if not pending:
            return
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            piece = pending.pop(future)
            try:
                result = future.result()
            except BrokenExecutor as error:
                if not alone:
                    again.append(piece)
                    continue
                result = lost(_ENDED.format(type(error.__cause__ or error).__name__))
            yield piece[0], result


class Threads:
    """Threads of this process around one reader.

    Parameters
    ----------
    reader : BulkReader
    count : int
        Each holds one image, up to some 300 MB for the largest.
    """

    def __init__(self, reader: BulkReader, count: int) -> None:
        self._reader = reader
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="read")
        self.at_once = count + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, file: MediaFile) -> Future[FileOutcome]:
        """Read in one of the threads."""
        return self._pool.submit(self._reader.read, file)

    def report(self, images: Images) -> Future[StudyOutcome]:
        """Report in one of the threads."""
        return self._pool.submit(self._reader.report, images)


class Processes:
    """Processes of this host, each with a network of its own in memory, about 1 GB.

    Parameters
    ----------
    task : BulkTask
        The same for every process.
    count : int
        One for each processor is enough.
    """

    def __init__(self, task: BulkTask, count: int) -> None:
        self._task = task
        self._count = count
        self._pool = self._new_pool()
        self.at_once = 2 * count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, file: MediaFile) -> Future[FileOutcome]:
        """Read in one of the processes."""
        return self._submit(BulkReader.read, file)

    def report(self, images: Images) -> Future[StudyOutcome]:
        """Report in one of the processes."""
        return self._submit(BulkReader.report, images)

    def _submit(self, method: Callable[[BulkReader, _Work], _Result], work: _Work) -> Future[_Result]:
        try:
            return self._spawn(_in_this_process, method, work, self._task)
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = self._new_pool()
            self._require_a_network()
            return self._spawn(_in_this_process, method, work, self._task)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._count, get_context("spawn"), initializer=_begin_process)

    def _require_a_network(self) -> None:
        """Tell what ends a process before it reads from what ends one that does."""
        try:
            self._spawn(_load, self._task).result()
        except BrokenProcessPool as error:
            raise ConfigurationError(
                "--processes: a process ends while it loads the model: is there memory for "
                f"{self._count} of them?"
            ) from error

    def _spawn(self, call: Callable[..., _Result], *arguments: object) -> Future[_Result]:
        # A process ends at Ctrl-C before it has begun to ignore it, unless it is born deaf to it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(call, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class RayWorkers:
    """Tasks on an existing Ray cluster, one image for each of its processors.

    Every node has this version of cxr-pacs, and the folders under the same paths. A task whose node died runs
    on another one.

    Parameters
    ----------
    address : str
        As ``ray.init`` takes it: ``auto``, ``HOST:PORT``, ``ray://HOST:PORT``.
    task : BulkTask
        The same for every node.

    Raises
    ------
    ConfigurationError
        Ray is not installed, or there is no cluster at `address`.
    """

    def __init__(self, address: str, task: BulkTask) -> None:
        try:
            ray = importlib.import_module("ray")
        except ImportError as error:
            raise ConfigurationError("--ray: Ray is not installed; install cxr-pacs[ray]") from error
        _require_listener(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", namespace="cxr-pacs")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigurationError(f"--ray: no Ray cluster at {address}: {type(error).__name__}") from error
        self._ray = ray
        self._nodes: set[str] = set()
        self._task = task
        gpu = task.settings.engine.device.startswith("gpu")
        self._on_a_node = ray.remote(
            num_cpus=1,
            num_gpus=1 if gpu else 0,
            max_retries=3,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": _ONE_THREAD},
        )(_on_a_node)
        self.at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    @property
    def nodes(self) -> int:
        """How many nodes have read so far."""
        return len(self._nodes)

    def read(self, file: MediaFile) -> Future[FileOutcome]:
        """Read on one of the nodes."""
        return self._submit(BulkReader.read, file)

    def report(self, images: Images) -> Future[StudyOutcome]:
        """Report on one of the nodes."""
        return self._submit(BulkReader.report, images)

    def _submit(self, method: Callable[[BulkReader, _Work], _Result], work: _Work) -> Future[_Result]:
        given: Future[_Result] = Future()

        def give(task: Future[tuple[str, _Result]]) -> None:
            error = task.exception()
            if error is None:
                node, result = task.result()
                self._nodes.add(node)
                given.set_result(result)
            else:
                # Ray wraps what a node raised in a class of its own.
                cause = getattr(error, "cause", None) or error
                given.set_exception(cause if isinstance(cause, ConfigurationError) else _broken(cause))

        try:
            self._on_a_node.remote(method, work, self._task).future().add_done_callback(give)
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise ConfigurationError(f"--ray: the cluster is gone: {type(error).__name__}") from error
        return given


def _broken(cause: BaseException) -> BrokenExecutor:
    error = BrokenExecutor()
    error.__cause__ = cause
    return error


def _require_listener(address: str) -> None:
    """Try the port first, where one is named: Ray itself would try it for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), _PATIENCE).close()
        except OSError as error:
            raise ConfigurationError(
                f"--ray: no Ray cluster at {address}: {error.strerror or error}"
            ) from error


def _on_a_node(
    method: Callable[[BulkReader, _Work], _Result], work: _Work, task: BulkTask
) -> tuple[str, _Result]:
    ray: Any = importlib.import_module("ray")
    return ray.get_runtime_context().get_node_id(), _in_this_process(method, work, task)


def _begin_process() -> None:
    """Leave Ctrl-C to the parent, end with it however it ends, and keep to one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(_ONE_THREAD)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _load(task: BulkTask) -> None:
    _reader_of_this_process(task)


def _in_this_process(method: Callable[[BulkReader, _Work], _Result], work: _Work, task: BulkTask) -> _Result:
    return method(_reader_of_this_process(task), work)


@functools.lru_cache(maxsize=1)
def _reader_of_this_process(task: BulkTask) -> BulkReader:
    engine = open_engine(task.settings)
    if task.digest_with(engine.identity) != task.digest:
        raise ConfigurationError(
            f"the node {os.uname().nodename} has another model, or another version of cxr-pacs"
        )
    return task.reader(engine)
