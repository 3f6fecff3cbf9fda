"""A gateway in this process, with a fast engine, and an archive that it sends to."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from bright_engine import BrightEngine
from peers import Archive, free_port

from cxr_pacs.dimse import Peer
from cxr_pacs.gateway.service import Gateway
from cxr_pacs.settings import Settings


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive") as running:
        yield running


@pytest.fixture
def database_url(request):
    """The ledger's: SQLite, unless a test names the other kind, or a module asks for `on_both_databases`."""
    return _database(request, getattr(request, "param", "sqlite"))


@pytest.fixture(params=["sqlite", "postgresql"])
def on_both_databases(request):
    """URL of an empty database of each kind."""
    return _database(request, request.param)


def _database(request, kind):
    return "" if kind == "sqlite" else request.getfixturevalue("postgres_server").new_database()


@pytest.fixture
def make_settings(tmp_path, database_url):
    def make(*peers, quiet_period=0.0, **delivery):
        return Settings.model_validate(
            {
                "dicom": {"port": free_port()},
                "spool": {"path": tmp_path / "spool"},
                "database": {"url": database_url},
                "study": {"quiet_period": quiet_period},
                "delivery": {"first_retry": 0.2, "longest_retry": 0.5} | delivery,
                "destination": [
                    {"name": f"pacs{n}", "ae_title": peer.ae_title, "host": "127.0.0.1", "port": peer.port}
                    for n, peer in enumerate(peers)
                ],
            }
        )

    return make


@pytest.fixture
def serving():
    @contextmanager
    def serve(settings):
        gateway = Gateway(settings, BrightEngine())
        gateway.start()
        try:
            yield Peer(ae_title="CXRPACS", host="127.0.0.1", port=settings.dicom.port)
        finally:
            gateway.stop()

    return serve
