"""The OHIF viewer in front of Orthanc's DICOMweb, on one origin, and a headless Chromium that looks at it."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers import OrthancWithDicomWeb
    from playwright.sync_api import Page

__all__ = ["DIST", "chromium_page", "ohif"]

DIST = Path(sys.prefix, "share", "ohif")
_DICOM_WEB = "/dicom-web"
# Without these Chromium asks its maker's hosts for news at every start.
_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def ohif(orthanc: OrthancWithDicomWeb) -> Iterator[str]:
    """Serve the viewer and, under ``/dicom-web``, what `orthanc` answers; the origin's URL."""
    if not (DIST / "index.html").exists():
        raise RuntimeError(f"OHIF is not in {DIST}: make ohif")
    handler = partial(_Handler, orthanc=f"{orthanc.host}:{orthanc.http_port}", directory=str(DIST))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(SimpleHTTPRequestHandler):
    """Files of the viewer; its one page for every path of its own; DICOMweb from Orthanc."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, orthanc: str, **kwargs: Any) -> None:
        self._orthanc = orthanc
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self.path.startswith(_DICOM_WEB):
            self._pass_on()
        elif self.path == "/app-config.js":
            self._answer(200, "text/javascript", _configuration().encode())
        else:
            if not Path(self.translate_path(self.path)).exists():
                self.path = "/index.html"
            super().do_GET()

    def _pass_on(self) -> None:
        connection = HTTPConnection(self._orthanc, timeout=60)
        try:
            connection.request("GET", self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
            answer = connection.getresponse()
            self._answer(answer.status, answer.headers["Content-Type"], answer.read())
        finally:
            connection.close()

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _configuration() -> str:
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "archive",
        "configuration": {
            "friendlyName": "Orthanc",
            "name": "archive",
            "qidoRoot": _DICOM_WEB,
            "wadoRoot": _DICOM_WEB,
            "wadoUriRoot": "/wado",
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "supportsFuzzyMatching": False,
            "supportsWildcard": True,
            "omitQuotationForMultipartRequest": True,
        },
    }
    # whoever saw the tour once is not offered it again
    seen = "localStorage.setItem('shownTours', '[\"basicViewerTour\"]');"
    return f"{seen} window.config = " + json.dumps(
        {
            "routerBasename": None,
            "extensions": [],
            "modes": [],
            "customizationService": {},
            "showStudyList": True,
            "showWarningMessageForCrossOrigin": False,
            "showCPUFallbackMessage": False,
            "maxNumberOfWebWorkers": 1,
            "investigationalUseDialog": {"option": "never"},
            "defaultDataSourceName": "archive",
            "dataSources": [source],
        }
    )


@contextmanager
def chromium_page(profile: Path) -> Iterator[Page]:
    """Open one page of a headless Chromium with a profile of its own."""
    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=program,
            headless=True,
            chromium_sandbox=False,
            args=list(_QUIET),
            viewport={"width": 1400, "height": 900},
        )
        try:
            yield browser.pages[0]
        finally:
            browser.close()
