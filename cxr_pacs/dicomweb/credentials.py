"""Who we are to a web server: a token or a password, read from a file and never written anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from requests import PreparedRequest
from requests.auth import HTTPBasicAuth

from cxr_pacs.errors import ConfigurationError

__all__ = ["Credentials", "anonymous", "read_credentials"]

Credentials = Callable[[PreparedRequest], PreparedRequest]


def anonymous(request: PreparedRequest) -> PreparedRequest:
    """Tell nothing. Without this, `requests` would look for a password in ``.netrc``."""
    return request


def read_credentials(path: Path) -> Credentials:
    """Read the file at `path`: one line, ``Bearer TOKEN`` (RFC 6750) or ``USER:PASSWORD`` (RFC 7617).

    Raises
    ------
    ConfigurationError
        The file cannot be read, or holds neither; the message quotes nothing of it.
    """
    try:
        line = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"the credentials in {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        line = ""
    scheme, _, token = line.partition(" ")
    if scheme.lower() == "bearer" and token.isascii() and token.isprintable() and token.split() == [token]:

        def bearer(request: PreparedRequest) -> PreparedRequest:
            request.headers["Authorization"] = f"Bearer {token}"
            return request

        return bearer
    user, colon, password = line.partition(":")
    if not user or not colon or not line.isprintable():
        raise ConfigurationError(f"{path} must hold one line, `Bearer TOKEN` or `USER:PASSWORD`")
    return HTTPBasicAuth(user.encode(), password.encode())
