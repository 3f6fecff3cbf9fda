"""STOW-RS against a server that answers as it is told, and against Orthanc."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from peers import OrthancWithDicomWeb, free_port
from pydicom import dcmread
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.dicomweb import WebService, read_credentials
from cxr_pacs.errors import ConfigurationError, DeliveryRefused, DestinationUnavailable

UID = "1.2.3"


class Server:
    """Answers every request with `status`, `body` and `headers`, and remembers what was asked."""

    def __init__(self):
        self.status, self.body, self.headers = 200, b"", {}
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.command, self.path, dict(self.headers), content))
                self.send_response(outer.status)
                for name, value in ({"Content-Length": str(len(outer.body))} | outer.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(outer.body)

            do_POST = do_OPTIONS = do_GET = answer  # noqa: N815  the library's names

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/dicom-web"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "object.dcm"
    path.write_bytes(b"every byte of it \r\n--")
    return path


def said(stored=None, failed=None):
    """A Store Instances Response Module (PS3.18 10.5.3.2)."""
    document = {}
    for sequence, tag, items in (("00081199", "00081196", stored), ("00081198", "00081197", failed)):
        if items is not None:
            document[sequence] = {
                "vr": "SQ",
                "Value": [
                    {"00081155": {"vr": "UI", "Value": [uid]}}
                    | ({} if code is None else {tag: {"vr": "US", "Value": [code]}})
                    for uid, code in items.items()
                ],
            }
    return json.dumps(document).encode()


def test_the_file_goes_as_it_lies_there(server, file):
    server.body = said(stored={UID: None})
    WebService(server.url).store(file, UID)
    ((method, path, headers, content),) = server.requests
    assert (method, path) == ("POST", "/dicom-web/studies")
    assert headers["Accept"] == "application/dicom+json"
    kind, _, boundary = headers["Content-Type"].partition("; boundary=")
    assert kind == 'multipart/related; type="application/dicom"'
    opening, _, rest = content.partition(b"\r\n\r\n")
    assert opening == f"--{boundary}\r\nContent-Type: application/dicom".encode()
    assert rest == file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, said(stored={UID: None})),
        (202, said(stored={UID: 0xB000}, failed={"9.9": 0xC000})),
    ],
)
def test_stored_is_what_the_server_says_it_stored(server, file, status, body):
    server.status, server.body = status, body
    WebService(server.url).store(file, UID)


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (200, b"<html>Please log in</html>", DestinationUnavailable, "does not say that it stored"),
        (200, said(stored={"9.9": None}), DestinationUnavailable, "does not say that it stored"),
        (202, said(failed={UID: 0x0122}), DeliveryRefused, "HTTP 202 and failure reason 0122"),
        (202, said(failed={UID: 0xA700}), DestinationUnavailable, "failure reason A700"),
        (409, said(failed={UID: 0xC122}), DeliveryRefused, "HTTP 409 and failure reason C122"),
        (409, said(failed={UID: 0xA7FF}), DestinationUnavailable, "failure reason A7FF"),
        (409, said(failed={UID: None}), DeliveryRefused, "failure reason unknown"),
        (409, b"[1, {", DeliveryRefused, "HTTP 409"),
        (409, b'[{"00081198": {"Value": [7, {"00081155": 1}]}}]', DeliveryRefused, "HTTP 409"),
        *((status, b"", DeliveryRefused, f"HTTP {status}") for status in (400, 401, 403, 404, 413, 415)),
        *(
            (status, b"", DestinationUnavailable, f"HTTP {status}")
            for status in (302, 408, 425, 429, 500, 502, 503, 504, 507)
        ),
    ],
)
def test_what_is_not_success(server, file, status, body, error, words):
    server.status, server.body = status, body
    server.headers = {"Location": f"{server.url}/login"} if status == 302 else {}
    with pytest.raises(error, match=words):
        WebService(server.url).store(file, UID)
    assert len(server.requests) == 1


def test_nobody_listens(file):
    service = WebService(f"http://127.0.0.1:{free_port()}/dicom-web")
    with pytest.raises(DestinationUnavailable, match="could not be reached"):
        service.store(file, UID)
    with pytest.raises(DestinationUnavailable, match="could not be reached"):
        service.probe()


def test_a_server_without_tls_is_not_trusted(server, file):
    service = WebService(server.url.replace("http:", "https:"))
    with pytest.raises(DestinationUnavailable, match="no TLS connection"):
        service.store(file, UID)


@pytest.mark.parametrize(
    ("line", "header"),
    [("Bearer secret-token\n", "Bearer secret-token"), ("ann:se:cret", "Basic YW5uOnNlOmNyZXQ=")],
)
def test_credentials_are_sent_and_may_be_renewed(server, file, tmp_path, line, header):
    secret = tmp_path / "secret"
    secret.write_text("Bearer old")
    server.body = said(stored={UID: None})
    service = WebService(server.url, lambda: read_credentials(secret))
    service.store(file, UID)
    secret.write_text(line)
    service.store(file, UID)
    assert [headers["Authorization"] for _, _, headers, _ in server.requests] == ["Bearer old", header]
    secret.unlink()
    with pytest.raises(DestinationUnavailable, match="cannot be read"):
        service.store(file, UID)


@pytest.mark.parametrize("line", ["", "secret-token", "Bearer ", "Bearer two secrets", ":secret"])
def test_wrong_credentials_are_not_quoted(tmp_path, line):
    secret = tmp_path / "file"
    secret.write_text(line)
    with pytest.raises(ConfigurationError, match="must hold one line") as caught:
        read_credentials(secret)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "answers"), [(200, True), (404, True), (405, True), (401, False), (503, False)]
)
def test_a_probe_asks_whether_it_answers_us(server, status, answers):
    server.status = status
    if answers:
        WebService(server.url).probe()
    else:
        with pytest.raises(DestinationUnavailable, match=f"HTTP {status}"):
            WebService(server.url).probe()


def test_orthanc_stores_it(tmp_path):
    path = tmp_path / "dx.dcm"
    make_radiograph(picture=synthetic_chest(64, 64, 0)).save_as(path)
    uid = str(dcmread(path).SOPInstanceUID)
    with OrthancWithDicomWeb(tmp_path / "orthanc", modalities={}) as orthanc:
        service = WebService(f"http://127.0.0.1:{orthanc.http_port}/dicom-web")
        service.probe()
        service.store(path, uid)
        service.store(path, uid)
        (held,) = orthanc.instances
        assert orthanc._fetch(f"/instances/{held.identifier}/file") == path.read_bytes()
        path.write_bytes(b"no DICOM at all")
        with pytest.raises(DeliveryRefused):
            service.store(path, uid)
