"""A PostgreSQL server of its own for a test, in a temporary folder, reached by a socket in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

DEADLINE = 120
OPTIONS = "-c listen_addresses= -c fsync=off -c shared_buffers=16MB -c max_connections=20"


def _program(name: str) -> str:
    """Find it where Debian keeps it, of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    program = str(found[-1]) if found else shutil.which(name)
    assert program, f"{name} is missing: apt-get install postgresql"
    return program


@contextmanager
def postgres():
    """URL of an empty database while the server runs; it refuses to run as root, so root lends it a user."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres", "postgres")

    def run(name: str, *arguments: str) -> None:
        with (folder / "out").open("a+b") as out:
            done = subprocess.run(
                [_program(name), *arguments],
                **user,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=DEADLINE,
                check=False,
            )
            out.seek(0)
            assert done.returncode == 0, out.read().decode()

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "tester", "-A", "trust", "-N", "--locale=C", "-E", "UTF8")
        run("pg_ctl", "-w", "-D", data, "-l", str(folder / "log"), "-o", f"-k {folder} {OPTIONS}", "start")
        try:
            yield f"postgresql+psycopg://tester@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-w", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
