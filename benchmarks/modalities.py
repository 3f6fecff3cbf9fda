"""How many studies a minute go from the worklist into the archive, with several modalities at once.

Simulated modalities, a gateway and an archive on this machine. ``python -m benchmarks.modalities --help``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from cxr_pacs import dimse, simulator
from cxr_pacs.settings import ModelSettings, load_settings
from cxr_pacs.worklist import generator, open_worklist
from demo.archive import Archive, StoredInstance
from demo.gateway import Destination, Gateway, GatewaySettings, free_port

_TIMEOUT = 600.0
_SERVED: dict[str, dict[str, object]] = {
    "worklist": {"serve": True},
    "mpps": {"serve": True},
    "commitment": {"provide": True},
    # Each modality has one association for commitment, and one for all else.
    "dicom": {"max_associations": 100},
}


def _order(gateway: Gateway, stations: list[str], studies: int) -> None:
    plan = generator.Plan(
        first_day=datetime.now(UTC).date(), stations=tuple((station, "DX") for station in stations)
    )
    worklist = open_worklist(load_settings(gateway.config).database_url)
    with worklist.begin() as connection:
        worklist.put(connection, generator.generated(studies, 0, plan), "benchmark", time.time())
    worklist.engine.dispose()


def _play(gateway: Gateway, stations: list[str], rate: float | None) -> simulator.Summary:
    peer = dimse.Peer(ae_title=gateway.ae_title, host=gateway.host, port=gateway.port)
    servers = simulator.Servers(worklist=peer, archive=peer, performed=peer, commitment=peer)
    modalities = [
        simulator.Modality(
            station,
            servers,
            simulator.Wanted(station=station),
            simulator.Commitments(station, peer, None, _TIMEOUT),
        )
        for station in stations
    ]
    return simulator.play(modalities, simulator.default_films(), simulator.Plan(rate=rate))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--modalities", type=int, default=6)
    parser.add_argument("--studies", type=int, default=120)
    parser.add_argument("--rate", type=float, help="studies a minute; without it, as fast as possible")
    parser.add_argument("--bundle", default=ModelSettings().bundle, help="name or folder")
    options = parser.parse_args()
    stations = [f"ROOM{number}" for number in range(options.modalities)]

    def reported(held: tuple[StoredInstance, ...]) -> bool:
        return sum(instance.modality == "SR" for instance in held) == options.studies

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        archive = stack.enter_context(Archive(folder / "archive"))
        settings = GatewaySettings(
            folder=folder / "gateway",
            port=free_port(),
            destinations=(Destination(name="archive", ae_title=archive.ae_title, port=archive.port),),
            tables={**_SERVED, "model": {"bundle": options.bundle}},
        )
        gateway = stack.enter_context(Gateway(settings))
        _order(gateway, stations, options.studies)
        began = time.monotonic()
        summary = _play(gateway, stations, options.rate)
        print("\n".join(summary.lines()))
        if not summary.failures:
            archive.wait_for(reported, timeout=_TIMEOUT)
            took = time.monotonic() - began
            print(
                f"all reports in the archive after {took:.1f} s ({options.studies / took * 60:.0f} a minute)"
            )
        gateway.stop()


if __name__ == "__main__":
    main()
