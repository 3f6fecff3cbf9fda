"""Receive radiographs by C-STORE, report them, and send the results to the destinations."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path

from cxr_pacs.gateway.service import Gateway, Role, open_engine
from cxr_pacs.settings import Settings, SiteSettings, load_settings

__all__ = ["configure", "run", "run_gateway"]

logger = logging.getLogger(__name__)

STOPPED, LOST = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (TOML)")
    parser.add_argument(
        "--role",
        type=Role,
        choices=list(Role),
        default=Role.ALL,
        help="only receive; only analyse, report and deliver; or all but listening, for watched folders; "
        "by default all",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then stop in order; 1 where another process took this one's name."""
    settings = load_settings(options.config)
    role: Role = options.role
    dicom = settings.dicom
    return run_gateway(
        settings, role, f"{dicom.ae_title} on {dicom.host}:{dicom.port}" if role.listens else role
    )


def run_gateway(settings: Settings, role: Role, where: str) -> int:
    """Run a gateway until SIGTERM or SIGINT; once it is ready print `where` it is."""
    if settings.site.uid_namespace == SiteSettings().uid_namespace:
        logger.warning("site.uid_namespace is the default that all sites share: draw your own")
    stopped = threading.Event()
    lost = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    def on_lost() -> None:
        lost.set()
        stopped.set()

    gateway = Gateway(settings, open_engine(settings) if role.works else None, role, on_lost)
    gateway.start()
    try:
        print(f"ready: {where}", flush=True)
        stopped.wait()
    finally:
        gateway.stop()
    print("stopped", flush=True)
    return LOST if lost.is_set() else STOPPED
