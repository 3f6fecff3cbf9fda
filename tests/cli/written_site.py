"""A site whose ledger is written by hand, for commands that tell of it."""

from __future__ import annotations

from cxr_pacs.gateway.ledger import Arrival, MadeObject, open_ledger
from cxr_pacs.gateway.owed import DELIVER, finish, owe
from cxr_pacs.settings import load_settings

STUDY = "1.2.826.0.1.3680043.8.498.1"


class Site:
    """A gateway's settings and a ledger to write into."""

    def __init__(self, folder, destinations):
        self.config = folder / "site.toml"
        tables = "".join(
            f'[[destination]]\nname = "{name}"\nae_title = "PEER"\nhost = "127.0.0.1"\nport = {port}\n'
            for name, port in destinations.items()
        )
        self.config.write_text(f'[spool]\npath = "{folder}"\n{tables}')
        self.ledger = open_ledger(load_settings(self.config).database_url)

    def arrive(self, digest, decision=None, study=STUDY, reason="A chest."):
        with self.ledger.begin() as connection:
            return self.ledger.add_arrival(
                connection,
                Arrival(
                    digest=digest,
                    source="MODALITY",
                    received_at=1_000_000_000.0,
                    study_instance_uid=study,
                    sop_instance_uid=f"{study}.{ord(digest)}",
                    file=f"originals/{digest}.dcm",
                    decision=decision,
                    rung="view",
                    reason=reason,
                ),
            )

    def report(self, *sources):
        with self.ledger.begin() as connection:
            self.ledger.set_reported(connection, sources)
            made = MadeObject(
                study_id=1, kind="SR", sop_instance_uid=f"{STUDY}.9", file="results/9.dcm", sources=sources
            )
            return self.ledger.add_result(connection, made)

    def owe(self, result_id, name="pacs"):
        with self.ledger.begin() as connection:
            return owe(connection, DELIVER, result_id, name, 1_000_000_010.0)

    def finish(self, delivery_id, state, reason=None):
        with self.ledger.begin() as connection:
            finish(connection, DELIVER, delivery_id, state=state, now=1_000_000_020.0, reason=reason)


def why(told, site, uid=STUDY):
    status, out, _ = told("why", uid, "--config", site.config)
    return status, out.splitlines()
