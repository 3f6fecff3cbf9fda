"""``cxr-pacs worklist``: what an administrator sees and does."""

from __future__ import annotations

import json

import pytest
from worklist_items import worklist_item

from cxr_pacs.cli import main
from cxr_pacs.worklist import open_worklist


@pytest.fixture
def site(tmp_path):
    config = tmp_path / "site.toml"
    config.write_text(f'[spool]\npath = "{tmp_path / "spool"}"\n')
    return config


@pytest.fixture
def told(capsys, site):
    def run(*arguments):
        capsys.readouterr()
        status = main(["worklist", *map(str, arguments), "--config", str(site)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def worklist(tmp_path, told):
    told("list")
    opened = open_worklist(f"sqlite:///{tmp_path / 'spool' / 'ledger.sqlite'}")
    yield opened
    opened.engine.dispose()


def test_items_are_listed_in_the_order_of_their_start(told, worklist):
    with worklist.begin() as connection:
        items = [worklist_item(f"A{n}", day=f"2026112{n}") for n in (3, 1, 2)]
        worklist.put(connection, items, "command", 0.0)
    status, out, _ = told("list")
    assert status == 0
    assert out.index("A1") < out.index("A2") < out.index("A3")
    listed = json.loads(told("list", "--json", "--date", "20261122-20261123", "--state", "scheduled")[1])
    assert [one["dataset"]["00080050"]["Value"] for one in listed] == [["A2"], ["A3"]]
    assert told("list", "--modality", "CR")[1].strip().endswith("0 items")
