"""A site of its own for each test, and the command line run in this process."""

from __future__ import annotations

import pytest
from peers import free_port
from written_site import Site

from cxr_pacs.cli import main


@pytest.fixture
def silent_port():
    return free_port()


@pytest.fixture
def site(tmp_path, silent_port):
    made = Site(tmp_path, {"pacs": silent_port})
    yield made
    made.ledger.engine.dispose()


@pytest.fixture
def told(capsys):
    def run(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run
