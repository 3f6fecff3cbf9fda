"""Storing by STOW-RS (PS3.18 10.5), as user agent.

The body is the file as it lies on the disk. The package dicomweb-client would encode the data set anew, which
does not keep the bytes of an original; it also follows redirects, and waits and repeats by itself.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from cxr_pacs.dicomweb.credentials import Credentials, anonymous
from cxr_pacs.errors import ConfigurationError, DeliveryRefused, DestinationUnavailable

__all__ = ["WebService"]

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
# Without a word from the server.
ANSWER_SECONDS = 60.0

# HTTP statuses of the client's fault that pass by themselves: Request Timeout, Too Early, Too Many Requests.
_PASSING = frozenset({408, 425, 429})
_STORED = frozenset({200, 202})
# PS3.18 Table 10.5.3-1: 202 some, 409 all of the instances failed; then the body says why.
_EXPLAINED = frozenset({200, 202, 409})
_REFERENCED_SOP_INSTANCE_UID, _WARNING_REASON, _FAILURE_REASON = "00081155", "00081196", "00081197"
_FAILED_SOP_SEQUENCE, _REFERENCED_SOP_SEQUENCE = "00081198", "00081199"
# PS3.18 Table I.2-2, Store Instances Response Failure Reason.
_OUT_OF_RESOURCES = 0xA700


class WebService:
    """One DICOMweb origin server.

    Parameters
    ----------
    url : str
        Base address, e.g. ``https://pacs.example.org/dicom-web``.
    credentials : callable
        Gives what the requests are signed with; asked for each, so that a token may be renewed in its file.
    """

    def __init__(self, url: str, credentials: Callable[[], Credentials] = lambda: anonymous) -> None:
        self._url = url
        self._credentials = credentials

    def __str__(self) -> str:
        return self._url

    def store(self, path: Path, sop_instance_uid: str) -> None:
        """Store the Part 10 file at `path`, of the instance `sop_instance_uid`.

        Returns once the server has said that it stored this very instance.

        Raises
        ------
        DestinationUnavailable
            No credentials, no connection, no answer; HTTP 408, 425, 429, 5xx or a redirect; failure reason
            A7xx; or success without naming the instance, as of a login page.
        DeliveryRefused
            Any other failure reason, or HTTP 4xx.
        """
        boundary = uuid.uuid4().hex
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(),
                path.read_bytes(),
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        answer = self._request(
            "POST",
            body,
            {
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "Accept": "application/dicom+json",
            },
        )
        self._judge(answer, sop_instance_uid)

    def probe(self) -> None:
        """Ask for the server's capabilities (PS3.18 8.9); whether it answers at all, and knows us.

        Raises
        ------
        DestinationUnavailable
            No credentials, no connection, no answer, HTTP 401, 403, 407, 5xx or a redirect.
        """
        status = self._request("OPTIONS").status_code
        if status in {401, 403, 407} or status >= 500 or 300 <= status < 400:
            raise DestinationUnavailable(f"{self} answered with HTTP {status}")

    def _request(
        self, method: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        try:
            credentials = self._credentials()
        except ConfigurationError as error:
            raise DestinationUnavailable(str(error)) from error
        try:
            return requests.request(
                method,
                f"{self._url}/studies",
                data=body,
                headers=headers,
                auth=credentials,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,  # it would become a GET, whose success stores nothing
            )
        except requests.exceptions.SSLError as error:
            raise DestinationUnavailable(f"{self}: no TLS connection that can be trusted") from error
        except requests.Timeout as error:
            raise DestinationUnavailable(f"{self} did not answer in time") from error
        except requests.RequestException as error:
            raise DestinationUnavailable(
                f"{self} could not be reached, or ended the connection ({type(error).__name__})"
            ) from error

    def _judge(self, answer: requests.Response, uid: str) -> None:
        status = answer.status_code
        document = _parse(answer) if status in _EXPLAINED else {}
        failed = _about(document, _FAILED_SOP_SEQUENCE, uid)
        stored = _about(document, _REFERENCED_SOP_SEQUENCE, uid)
        if failed is not None:
            reason = _number(failed, _FAILURE_REASON)
            sentence = f"{self} answered with HTTP {status} and failure reason {_hexadecimal(reason)}"
            if reason is not None and reason & 0xFF00 == _OUT_OF_RESOURCES:
                raise DestinationUnavailable(sentence)
            raise DeliveryRefused(sentence)
        if status in _STORED and stored is not None:
            if (warning := _number(stored, _WARNING_REASON)) is not None:
                logger.warning("%s stored with warning %s", self, _hexadecimal(warning))
            return
        if status in _STORED:
            raise DestinationUnavailable(
                f"{self} answered with HTTP {status}, but does not say that it stored the object"
            )
        sentence = f"{self} answered with HTTP {status}"
        if 400 <= status < 500 and status not in _PASSING:
            raise DeliveryRefused(sentence)
        raise DestinationUnavailable(sentence)


def _parse(answer: requests.Response) -> dict[str, Any]:
    """Read the Store Instances Response Module (PS3.18 10.5.3.2); empty where the body holds none."""
    try:
        document = json.loads(answer.content)
    except ValueError:
        return {}
    if isinstance(document, list):
        document = document[0] if document else {}
    return document if isinstance(document, dict) else {}


def _about(document: dict[str, Any], sequence: str, uid: str) -> dict[str, Any] | None:
    """Find the item of `sequence` that references `uid`."""
    for item in _values(document, sequence):
        if isinstance(item, dict) and uid in _values(item, _REFERENCED_SOP_INSTANCE_UID):
            return item
    return None


def _number(item: dict[str, Any], tag: str) -> int | None:
    return next((value for value in _values(item, tag) if isinstance(value, int)), None)


def _values(item: dict[str, Any], tag: str) -> list[Any]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _hexadecimal(code: int | None) -> str:
    return "unknown" if code is None else f"{code:04X}"
