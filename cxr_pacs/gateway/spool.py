"""The spool: files that are whole and on the disk, or not there at all.

::

    spool/
      lock            held by the one gateway that works on an SQLite ledger
      refusing        while the disk is above its watermark (see `watermark`)
      incoming/NAME/  being written by the process that holds NAME.lock; swept when that lock is taken
      originals/ab/   received files, named by the SHA-256 of their data set
      results/ab/     our objects, named by their SOP Instance UID
      orders/ab/      what the worklist said of the request of an image: a data set in Implicit VR
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cxr_pacs.errors import ConfigurationError, SpoolUnavailable

__all__ = ["Spool", "sync"]

logger = logging.getLogger(__name__)

_KEPT = ("originals", "results", "orders")


class Spool:
    """Atomic, fsynced files under one folder.

    Parameters
    ----------
    root : Path
        Made, with its parents, when absent; readable by its owner only.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._incoming = self.root / "incoming"
        try:
            for folder in (self.root, self._incoming, *(self.root / name for name in _KEPT)):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_shards()
        except OSError as error:
            raise ConfigurationError(f"spool.path: cannot make {self.root}: {error.strerror}") from error

    def _make_shards(self) -> None:
        """Make every folder that files will lie in: who finds one later may count on its name as well."""
        for kept in (self.root / name for name in _KEPT):
            there = {folder.name for folder in kept.iterdir()}
            for shard in (f"{number:02x}" for number in range(256)):
                if shard not in there:
                    (kept / shard).mkdir(mode=0o700, exist_ok=True)
            sync(kept)
        sync(self.root)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder against a second gateway that works; ConfigurationError when one is there."""
        with _locked(self.root / "lock") as held:
            if not held:
                raise ConfigurationError(
                    f"spool.path: another gateway is using {self.root}; "
                    "several that work need a database.url of PostgreSQL"
                )
            yield

    @contextmanager
    def place(self, names: Iterable[str]) -> Iterator[str]:
        """Take the first of `names` that no living process holds, and write in a folder of that name.

        What an earlier holder of the name left half written there is removed. A name is free again when its
        process ends, however it ends.

        Raises
        ------
        ConfigurationError
            All of them are held.
        """
        for name in names:
            with _locked(self.root / "incoming" / f"{name}.lock") as held:
                if held:
                    self._incoming = self.root / "incoming" / name
                    self._incoming.mkdir(mode=0o700, exist_ok=True)
                    _empty(self._incoming)
                    yield name
                    return
        raise ConfigurationError(f"spool.path: too many processes of this host use {self.root}")

    def clear(self, name: str) -> None:
        """Remove what a process that ended left half written under `name`; what cannot be removed stays."""
        with suppress(OSError), _locked(self.root / "incoming" / f"{name}.lock") as held:
            if held:
                _empty(self.root / "incoming" / name)

    def keep_original(self, digest: str, part10: bytes) -> str:
        """Store a received file; returns its path relative to the spool."""
        return self._keep(f"originals/{digest[:2]}/{digest}.dcm", part10)

    def keep_result(self, sop_instance_uid: str, part10: bytes) -> str:
        """Store an object of ours; returns its path relative to the spool.

        One that is there stays as it is: under its UID it may have been sent.
        """
        relative = _result(sop_instance_uid)
        try:
            os.utime(self.path(relative))  # see `remove`
        except FileNotFoundError:
            return self._keep(relative, part10)
        sync(self.path(relative).parent)
        return relative

    def renew_result(self, sop_instance_uid: str, part10: bytes) -> str:
        """Store an object of ours of which the ledger knows nothing; as `keep_result`.

        One that is there was left by a process that ended before it was recorded. What has that UID now may
        be of other content.
        """
        return self._keep(_result(sop_instance_uid), part10)

    def keep_order(self, instance_id: int, document: bytes) -> str:
        """Store what the order of an image says; returns its path relative to the spool.

        The same again goes under the same name: a process may end before it is recorded.
        """
        name = hashlib.sha256(b"%d|%s" % (instance_id, document)).hexdigest()
        return self._keep(f"orders/{name[:2]}/{name}.dcm", document)

    @staticmethod
    def is_original(relative: str) -> bool:
        """Whether `keep_original` gave this path."""
        return relative.startswith("originals/")

    def path(self, relative: str) -> Path:
        """Where the file that one of the `keep_` methods named lies."""
        return self.root / relative

    def folders(self) -> Iterator[tuple[str, ...]]:
        """List every file that is kept or being written, folder by folder, relative to the spool."""
        for folder in ("incoming", *_KEPT):
            for inner in sorted(path for path in (self.root / folder).iterdir() if path.is_dir()):
                files = sorted(path for path in inner.iterdir() if path.is_file())
                yield tuple(str(path.relative_to(self.root)) for path in files)

    def remove(self, relative: str, before: float) -> bool:
        """Delete a file unless it was kept, or kept again, since `before` (seconds since the epoch)."""
        path = self.path(relative)
        try:
            if path.stat().st_mtime > before:
                return False
            path.unlink()
        except FileNotFoundError:  # by another process
            return False
        except OSError as error:
            logger.warning("%s was not deleted: %s", relative, error.strerror)
            return False
        return True

    def _keep(self, relative: str, content: bytes) -> str:
        target = self.root / relative
        try:
            if not target.parent.is_dir():  # somebody tidied up
                target.parent.mkdir(mode=0o700, exist_ok=True)
                sync(target.parent.parent)
            # The name is free of anything a peer sent, and 0600.
            descriptor, name = tempfile.mkstemp(dir=self._incoming)
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
            except OSError:
                # On a full disk the half of a file would keep the other half of the next one out.
                temporary.unlink(missing_ok=True)
                raise
            sync(target.parent)
        except OSError as error:
            raise SpoolUnavailable(f"the spool did not take a file: {error.strerror}") from error
        return relative


def _result(sop_instance_uid: str) -> str:
    shard = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:2]
    return f"results/{shard}/{sop_instance_uid}.dcm"


def _empty(folder: Path) -> None:
    for leftover in folder.glob("*"):
        leftover.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Try to hold a lock that ends with the process; False when another process holds it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def sync(folder: Path) -> None:
    """Make the names in `folder` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
