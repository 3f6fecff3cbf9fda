"""Answer the worklist queries of modalities, and nothing else."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from collections.abc import Sequence

from cxr_pacs import dimse
from cxr_pacs.cli.worklist.opening import add_config, opened
from cxr_pacs.errors import ConfigurationError
from cxr_pacs.gateway.order_sources import OrderSources
from cxr_pacs.gateway.performed_steps import step_service
from cxr_pacs.gateway.worklist import local_entity, worklist_service
from cxr_pacs.settings import load_settings

__all__ = ["configure", "run"]

logger = logging.getLogger(__name__)

# Seconds that open associations get when it stops.
GRACE = 5.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, whatever ``worklist.serve`` says; 0."""
    settings = load_settings(options.config)
    if settings.mpps_destination:
        raise ConfigurationError(
            "mpps_destination: `cxr-pacs worklist serve` sends no performed procedure step on: "
            "take the tables out of its settings, or run `cxr-pacs serve`"
        )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    dicom = settings.dicom
    with opened(settings) as worklist:
        services = [dimse.verification_scp(), worklist_service(worklist, settings.worklist)]
        if settings.mpps.serve:
            services.append(step_service(worklist))
        listener = dimse.Listener(local_entity(dicom), services, _refused)
        sources = OrderSources(settings, worklist)
        listener.start()
        try:
            sources.start()
            print(f"ready: {dicom.ae_title} on {dicom.host}:{dicom.port}", flush=True)
            stopped.wait()
        finally:
            sources.stop()
            listener.stop(GRACE)
    print("stopped", flush=True)
    return 0


def _refused(contexts: Sequence[dimse.RefusedContext]) -> None:
    for context in contexts:
        logger.warning(
            "%s proposed %s, which is not served here", context.calling_ae_title, context.abstract_syntax
        )
