"""Every error that cxr_pacs raises on purpose.

::

    CxrPacsError
    ├── ConfigurationError       the site must change a setting, a file or an installation
    │   ├── SettingsError            a settings file, by its key
    │   ├── BundleError              a model bundle: manifest, weights, digest
    │   └── EngineError              no usable inference backend or device
    ├── PermanentError           the same input will fail again: park it with the reason
    │   ├── RefusedInstance          may not enter the gateway (carries the DIMSE status)
    │   ├── RefusedRequest           a peer's request about objects cannot be understood
    │   ├── RefusedItem              what cannot be a worklist item
    │   ├── RefusedMessage           an HL7 message that cannot be taken (carries the answer)
    │   ├── UnreadableMedium         a file, or a member of an archive, that cannot be taken as it is
    │   ├── RefusedOperation         a normalized object may not be so (carries the DIMSE status)
    │   ├── RefusedQuery             what no worklist can be asked (carries the DIMSE status)
    │   ├── UnreadablePixels         pixel data absent, truncated, contradictory or too large
    │   ├── EvidenceError            an object could not be built as the standard says
    │   ├── DeliveryRefused          the destination said no for good
    │   ├── CannotReadAgain          nothing of a study is there to be read again
    │   ├── RetrievalRefused         an archive refused a query or a retrieval for good
    │   └── NothingToShow            no object, or none that can be shown to a person
    └── TransientError           trying later can help
        ├── SpoolUnavailable         the disk did not take the bytes
        │   └── SpoolFull                it is above its watermark: nothing was tried
        ├── DestinationUnavailable   no association, a time-out, or A7xx
        └── WorklistSilent           the worklist that knows an image's order did not answer

No message of these may hold patient identity: they reach log lines and the ledger. Of an error that nobody
foresaw, only `kind_and_place` may.
"""

from __future__ import annotations

import traceback

__all__ = [
    "BundleError",
    "CannotReadAgain",
    "ConfigurationError",
    "CxrPacsError",
    "DeliveryRefused",
    "DestinationUnavailable",
    "EngineError",
    "EvidenceError",
    "NothingToShow",
    "PermanentError",
    "RefusedInstance",
    "RefusedItem",
    "RefusedMessage",
    "RefusedOperation",
    "RefusedQuery",
    "RefusedRequest",
    "RetrievalRefused",
    "SettingsError",
    "SpoolFull",
    "SpoolUnavailable",
    "TransientError",
    "UnreadableMedium",
    "UnreadablePixels",
    "WorklistSilent",
    "kind_and_place",
]


class CxrPacsError(Exception):
    """The root of the tree."""


class ConfigurationError(CxrPacsError):
    """The site must change a setting, a file or an installation."""


class SettingsError(ConfigurationError):
    """A settings file is wrong; the message names the key."""


class BundleError(ConfigurationError):
    """A model bundle cannot be used; the message names the file and the field."""


class EngineError(ConfigurationError):
    """No usable inference backend or device."""


class PermanentError(CxrPacsError):
    """The same input will fail again."""


class RefusedInstance(PermanentError):
    """An instance may not enter the gateway.

    Parameters
    ----------
    reason : str
        One sentence, free of patient identity.
    status : int
        DIMSE status of the C-STORE response (PS3.4 Table B.2-1), e.g. 0xA900 or 0xC000.
    """

    def __init__(self, reason: str, *, status: int = 0xC000) -> None:
        super().__init__(reason)
        self.status = status


class RefusedRequest(PermanentError):
    """A peer's request about objects cannot be understood: a UID is missing, or the data set is damaged."""


class RefusedItem(PermanentError):
    """What was given cannot be a worklist item.

    Parameters
    ----------
    reason : str
        Names the attribute and what to do; free of its value.
    attribute : str
        Keyword of the attribute; empty where it is the whole item.
    """

    def __init__(self, reason: str, *, attribute: str = "") -> None:
        super().__init__(reason)
        self.attribute = attribute


class RefusedMessage(PermanentError):
    """An HL7 message is not taken.

    Parameters
    ----------
    reason : str
        Names segment and field, such as OBR-18, and no value.
    answer : str
        Acknowledgement code (HL7 table 0008): ``AE``, the content is wrong, or ``AR``, it is not for us.
    code : int
        Error code of HL7 table 0357.
    place : str
        Segment, its occurrence and field (data type ERL), such as ``OBR^1^18``; empty where none is at fault.
    """

    def __init__(self, reason: str, *, answer: str, code: int, place: str = "") -> None:
        super().__init__(reason)
        self.answer = answer
        self.code = code
        self.place = place


class UnreadableMedium(PermanentError):
    """A file, or a member of an archive, cannot be taken: too large, encrypted, damaged, absent."""


class RefusedOperation(PermanentError):
    """A normalized object, say a performed procedure step, may not be created or changed so.

    Parameters
    ----------
    reason : str
        One sentence, free of patient identity.
    status : int
        DIMSE status (PS3.7 annex C), e.g. 0x0106.
    error_id : int or None
        Error ID (0000,0903), e.g. 0xA710 of a step that may no longer be updated.
    attributes : tuple of str
        Keywords of the attributes that are wrong.
    """

    def __init__(
        self, reason: str, *, status: int, error_id: int | None = None, attributes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.error_id = error_id
        self.attributes = attributes


class RefusedQuery(PermanentError):
    """An identifier of a worklist query is not as PS3.4 annex K says.

    Parameters
    ----------
    reason : str
        One sentence that names the attribute and no value.
    status : int
        DIMSE status of the C-FIND response (PS3.4 K.4.1.1.4).
    tag : int
        The offending element.
    """

    def __init__(self, reason: str, *, status: int, tag: int) -> None:
        super().__init__(reason)
        self.status = status
        self.tag = tag


class UnreadablePixels(PermanentError):
    """Pixel data is absent, truncated, contradictory or too large."""


class EvidenceError(PermanentError):
    """An evidence object could not be built as the standard says."""


class DeliveryRefused(PermanentError):
    """The destination refused an object for good (A9xx, Cxxx, 0122, no accepted context)."""


class CannotReadAgain(PermanentError):
    """Nothing of a study is there to be read again; the message says what to do."""


class RetrievalRefused(PermanentError):
    """An archive refused a query or a retrieval for good, or its answer cannot be used."""


class NothingToShow(PermanentError):
    """What a person asked to see is not there, or nothing that can be shown."""


class TransientError(CxrPacsError):
    """Trying later can help."""


class SpoolUnavailable(TransientError):
    """The spool's disk did not take the bytes."""


class SpoolFull(SpoolUnavailable):
    """The spool's disk is above its watermark, as the log said when that began."""


class DestinationUnavailable(TransientError):
    """A destination could not be reached, timed out, or answered A7xx."""


class WorklistSilent(TransientError):
    """The worklist that knows an image's order did not answer.

    Parameters
    ----------
    reason : str
        One sentence, free of patient identity.
    patience_left : float
        Seconds after which the image goes on without.
    """

    def __init__(self, reason: str, *, patience_left: float) -> None:
        super().__init__(reason)
        self.patience_left = patience_left


def kind_and_place(error: Exception) -> str:
    """Describe an unforeseen error without its text, which may quote a data element."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name} (line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{place}"
