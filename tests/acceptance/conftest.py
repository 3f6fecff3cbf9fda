"""One site for the session: a gateway with three destinations, each a peer of its own kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from peers import Archive, Destination, Gateway, GatewaySettings, Orthanc, StoreScp, free_port
from toy_bundle import write_toy_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.register_assert_rewrite("campaign")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    gateway: Gateway
    archive: Archive
    store_scp: StoreScp
    orthanc: Orthanc


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the right shape that is small and untrained: for all that does not ask what it sees."""
    return write_toy_bundle(tmp_path_factory.mktemp("toy") / "bundle")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, toy_bundle: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    port = free_port()
    known = {"gateway": (Gateway.ae_title, port)}
    with (
        Archive(folder / "archive") as archive,
        StoreScp(folder / "storescp") as store_scp,
        Orthanc(folder / "orthanc", modalities=known) as orthanc,
        Gateway(
            GatewaySettings(
                folder=folder / "gateway",
                port=port,
                destinations=tuple(
                    Destination(name=peer.ae_title.lower(), ae_title=peer.ae_title, port=peer.port)
                    for peer in (archive, store_scp, orthanc)
                ),
                tables={"study": {"quiet_period": 0.3}, "model": {"bundle": str(toy_bundle)}},
            )
        ) as gateway,
    ):
        yield Site(gateway=gateway, archive=archive, store_scp=store_scp, orthanc=orthanc)
        assert gateway.stop() == 0, gateway.log_tail()


@pytest.fixture
def make_gateway(tmp_path: Path, toy_bundle: Path) -> Iterator[Callable[..., Gateway]]:
    """Make gateways with the toy bundle and fast retries; what still runs in the end is killed."""
    made: list[Gateway] = []

    def make(*destinations: Destination, **tables: dict[str, object] | list[dict[str, object]]) -> Gateway:
        defaults: dict[str, dict[str, object] | list[dict[str, object]]] = {
            "study": {"quiet_period": 0.3},
            "model": {"bundle": str(toy_bundle)},
            "delivery": {"first_retry": 0.2, "longest_retry": 1.0},
        }
        settings = GatewaySettings(
            folder=tmp_path / "gateway",
            port=free_port(),
            destinations=destinations,
            tables=defaults | tables,
        )
        made.append(Gateway(settings))
        return made[-1]

    yield make
    for gateway in made:
        gateway.__exit__()
