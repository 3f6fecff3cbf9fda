"""A PostgreSQL server of its own for a test, in a temporary folder, reached by a socket in it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psycopg

DEADLINE = 120
OPTIONS = "-c listen_addresses= -c fsync=off -c shared_buffers=16MB -c max_connections=100"


def _program(name: str) -> str:
    """Find it where Debian keeps it, of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    program = str(found[-1]) if found else shutil.which(name)
    assert program, f"{name} is missing: apt-get install postgresql"
    return program


class PostgresServer:
    """It refuses to run as root, so root lends it a user."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = (
            {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        )
        if self._user:
            shutil.chown(self._folder, "postgres", "postgres")
        try:
            self._run("initdb", "-U", "tester", "-A", "trust", "-N", "--locale=C", "-E", "UTF8")
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder)

    def start(self) -> None:
        options = f"-k {self._folder} {OPTIONS}"
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """As if its host had failed: no session is told, nothing is written down."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(f"host={self._folder} user=tester dbname=postgres", autocommit=True) as session:
            session.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://tester@/{name}?host={self._folder}"

    def _run(self, name: str, *arguments: str) -> None:
        with (self._folder / "out").open("a+b") as out:
            done = subprocess.run(
                [_program(name), "-D", str(self._folder / "data"), *arguments],
                **self._user,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=DEADLINE,
                check=False,
            )
            out.seek(0)
            assert done.returncode == 0, out.read().decode()
