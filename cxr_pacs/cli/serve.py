"""Receive radiographs by C-STORE, report them, and send the results to the destinations."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path

from cxr_pacs.gateway.service import Gateway, open_engine
from cxr_pacs.settings import SiteSettings, load_settings

__all__ = ["configure", "run"]

logger = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (TOML)")


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then stop in order."""
    settings = load_settings(options.config)
    if settings.site.uid_namespace == SiteSettings().uid_namespace:
        logger.warning("site.uid_namespace is the default that all sites share: draw your own")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    gateway = Gateway(settings, open_engine(settings))
    gateway.start()
    try:
        dicom = settings.dicom
        print(f"ready: {dicom.ae_title} on {dicom.host}:{dicom.port}", flush=True)
        stopped.wait()
    finally:
        gateway.stop()
    print("stopped", flush=True)
    return 0
