"""A file becomes what the intake receives; or one sentence says why it does not."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydicom._uid_dict import UID_dictionary
from pydicom.config import IGNORE
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    DeflatedExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from cxr_pacs.dimse import ReceivedInstance
from cxr_pacs.errors import RefusedInstance, UnreadableMedium, UnreadablePixels
from cxr_pacs.gateway.file_set import is_dicomdir_name, referenced_files
from cxr_pacs.gateway.media import Media, is_hidden
from cxr_pacs.gateway.preamble import with_preamble
from cxr_pacs.gateway.watch.tree import FileState
from cxr_pacs.gateway.zip_members import ZipMember, list_members
from cxr_pacs.radiograph import MAXIMUM_INFLATED, check_inflation

__all__ = ["FileIntake", "Outcome", "StillChanging", "check_file_set", "received_instance"]

_ZIP: Final = b"PK\x03\x04"
_META: Final = 132  # bytes before the file meta information (PS3.10 7.1)
_IMPLICIT: Final = UID("1.2.840.10008.1.2")
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_DELIMITERS: Final = (b"\xfe\xff\xdd\xe0", b"\xff\xfe\xe0\xdd")  # (FFFE,E0DD), PS3.5 Table 7.5-3
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})


class StillChanging(Exception):
    """A file is not, or no more, as it was when it was complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a file.

    Attributes
    ----------
    state : str
        ``taken`` in; ``refused``, since it is nothing for this gateway; or ``failed``, which a person may
        mend.
    reason : str or None
        One sentence, without a name: of a file that is not taken, or of an archive what of it is not.
    digest : str or None
        SHA-256 of the data set that was taken.
    """

    state: Literal["taken", "refused", "failed"]
    reason: str | None = None
    digest: str | None = None


class FileIntake:
    """Reads files and hands them to the intake.

    Parameters
    ----------
    source : str
        From where they are said to come.
    contexts : mapping of str to collection of str
        Transfer syntaxes, by the SOP class, that are read.
    receive : callable
        The intake.
    """

    def __init__(
        self,
        source: str,
        contexts: Mapping[str, Collection[str]],
        receive: Callable[[ReceivedInstance], None],
    ) -> None:
        self._source = source
        self._contexts = contexts
        self._receive = receive

    def take(self, path: str, state: FileState) -> Outcome:
        """Take in the file at `path`, an image or a ZIP archive of such, as it is in `state`.

        Raises
        ------
        StillChanging
            It is in another state, or came to be while it was read.
        SpoolUnavailable
            The intake could not keep it now.
        OSError
            It cannot be read.
        """
        with open(path, "rb") as file:  # noqa: PTH123  a name need not be UTF-8
            if FileState.of(os.fstat(file.fileno())) != state:
                raise StillChanging
            if state.size == 0:
                return Outcome(state="failed", reason="It is empty.")
            head = file.read(len(_ZIP))
            if head == _ZIP:
                outcome = self._take_members(Path(path))
            elif state.size > MAXIMUM_INFLATED:
                return Outcome(state="failed", reason=_too_large(state.size))
            else:
                content = head + file.read(MAXIMUM_INFLATED)
                if FileState.of(os.fstat(file.fileno())) == state:
                    outcome = self._take_content(content)
            if FileState.of(os.fstat(file.fileno())) != state:
                raise StillChanging
        return outcome

    def _take_content(self, content: bytes) -> Outcome:
        try:
            instance = received_instance(content, self._source, self._contexts)
            self._receive(instance)
        except RefusedInstance as error:
            return Outcome(state="refused", reason=str(error))
        except UnreadableMedium as error:
            return Outcome(state="failed", reason=str(error))
        return Outcome(state="taken", digest=hashlib.sha256(instance.dataset).hexdigest())

    def _take_members(self, archive: Path) -> Outcome:
        """Take in what an archive holds; what it failed in first is told."""
        try:
            outcomes = list(self._members(archive))
        except UnreadableMedium as error:
            return Outcome(state="failed", reason=str(error))
        for state in ("failed", "refused"):
            those = [one for one in outcomes if one.state == state]
            if those:
                told = f"Of {len(outcomes)} members of the archive {len(those)} {state}: {those[0].reason}"
                others_are_taken = state == "refused" and len(those) < len(outcomes)
                return Outcome(state="taken" if others_are_taken else those[0].state, reason=told)
        return Outcome(state="taken") if outcomes else Outcome(state="refused", reason="An empty archive.")

    def _members(self, archive: Path) -> Iterator[Outcome]:
        members = list_members(archive)
        held = {member.name.casefold() for member in members}
        for member in members:
            *folders, name = member.name.split("/")
            if any(map(is_hidden, (*folders, name))):
                continue
            if is_dicomdir_name(name):
                yield from _absent(archive, member, held)
            else:
                yield self._take_member(archive, member)

    def _take_member(self, archive: Path, member: ZipMember) -> Outcome:
        try:
            return self._take_content(_unpacked(archive, member))
        except UnreadableMedium as error:
            return Outcome(state="failed", reason=str(error))


def check_file_set(path: str) -> None:
    """Look whether all that a DICOMDIR names is there.

    Raises
    ------
    UnreadableMedium
        It is not, or not yet; or the DICOMDIR cannot be read.
    """
    directory = Path(path)
    faults = {one.path: one.fault for one in Media([directory]) if one.fault is not None}
    if faults:
        absent = "It names files that are not there or cannot be read: `cxr-pacs analyse` tells which."
        raise UnreadableMedium(faults.get(directory) or absent)


def received_instance(
    content: bytes, source: str, contexts: Mapping[str, Collection[str]]
) -> ReceivedInstance:
    """Make what the intake receives of a file's bytes, with or without preamble and file meta information.

    Raises
    ------
    RefusedInstance
        It is not DICOM, or of a SOP class or in a transfer syntax that is not read.
    UnreadableMedium
        It is damaged or incomplete: nothing of it may be taken for the whole.
    """
    part10 = with_preamble(content)
    if part10[_META - 4 : _META] != b"DICM":
        raise RefusedInstance("It is not a DICOM file.")
    syntax, dataset = _split(part10)
    if not any(syntax in syntaxes for syntaxes in contexts.values()):
        raise _not_decoded(syntax)
    found = _elements(dataset, syntax)
    sop_class, sop_instance = (_uid(found.get(tag)) for tag in (_SOP_CLASS, _SOP_INSTANCE))
    _check_read(sop_class, syntax, contexts)
    if not found.keys() & _PIXELS:
        raise UnreadableMedium("It ends before its pixels, or has none.")
    return ReceivedInstance(
        part10=_file_meta(sop_class, sop_instance, syntax) + dataset,
        dataset=dataset,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        transfer_syntax_uid=syntax,
        source=source,
    )


def _split(part10: bytes) -> tuple[UID, bytes]:
    """Transfer syntax and data set of a Part 10 file."""
    with io.BytesIO(part10) as file:
        file.seek(_META)
        try:
            meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
            syntax = UID(str(meta.TransferSyntaxUID), IGNORE)
            media_class = str(meta.get("MediaStorageSOPClassUID"))
        except Exception as error:  # noqa: BLE001  pydicom raises anything for bytes that are not DICOM
            raise UnreadableMedium(
                f"Its file meta information is damaged or incomplete ({type(error).__name__})."
            ) from None
        if media_class == MediaStorageDirectoryStorage:  # its data set does not say so (PS3.3 F.3.2)
            raise RefusedInstance("It is a DICOMDIR: the files that it names are taken in by themselves.")
        return syntax, part10[file.tell() :]


def _elements(dataset: bytes, syntax: UID) -> dict[int, bytes | None]:
    """Give the short values of a data set by their tags; a longer one is None, but all are there."""
    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            dataset = _inflated(dataset)
        implicit, little = syntax == _IMPLICIT, syntax.is_little_endian
        found: dict[int, bytes | None] = {}
        with io.BytesIO(dataset) as file:
            for element in data_element_generator(file, implicit, little, defer_size=1024):
                if isinstance(element, RawDataElement):
                    _check_end(element, dataset, file.tell())
                    found[element.tag] = element.value
    except UnreadablePixels as error:
        raise UnreadableMedium(str(error)) from error
    except EOFError:
        raise UnreadableMedium("It is incomplete: it ends in the middle of an element.") from None
    except Exception as error:  # noqa: BLE001  pydicom raises anything for bytes that are not DICOM
        raise UnreadableMedium(f"Its data set cannot be parsed ({type(error).__name__}).") from None
    return found


def _check_end(element: RawDataElement, dataset: bytes, at: int) -> None:
    """Raise EOFError where the value, or the delimitation item in which reading it ended, is cut off."""
    if element.length != 0xFFFFFFFF:
        cut_off = element.value_tell + element.length > len(dataset)
    else:
        cut_off = at > len(dataset) or dataset[at - 8 : at - 4] not in _DELIMITERS
    if cut_off:
        raise EOFError


def _inflated(deflated: bytes) -> bytes:
    check_inflation(deflated)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(deflated)
    if not inflater.eof:
        raise EOFError
    return plain


def _uid(value: bytes | None) -> str:
    return (value or b"").decode("latin-1").strip("\0 ")


def _check_read(sop_class: str, syntax: UID, contexts: Mapping[str, Collection[str]]) -> None:
    if not sop_class:
        raise UnreadableMedium("It ends before its SOP Class UID, or has none.")
    if sop_class not in contexts:
        raise RefusedInstance(f"{_name(sop_class, 'an unknown SOP class')}: the gateway reads others.")
    if syntax not in contexts[sop_class]:
        raise _not_decoded(syntax)


def _not_decoded(syntax: UID) -> RefusedInstance:
    name = _name(syntax, "an unknown transfer syntax")
    return RefusedInstance(f"{name}: the gateway does not decode it.")


def _name(uid: str, otherwise: str) -> str:
    """Name of a UID of the standard; of another one, which may be any text, not a word."""
    return UID(uid, IGNORE).name if uid in UID_dictionary else otherwise


def _file_meta(sop_class: str, sop_instance: str, syntax: UID) -> bytes:
    """Preamble and file meta information that say what the data set says, whatever the file's own said."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        UID(sop_class, IGNORE),
        UID(sop_instance, IGNORE),
    )
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    with DicomBytesIO() as buffer:
        buffer.write(bytes(128) + b"DICM")
        write_file_meta_info(buffer, meta, enforce_standard=False)
        return buffer.getvalue()


def _unpacked(archive: Path, member: ZipMember) -> bytes:
    if member.size > MAXIMUM_INFLATED:
        raise UnreadableMedium(_too_large(member.size))
    content = member.read(archive)
    if content.startswith(_ZIP) and member.name.casefold().endswith(
        ".zip"
    ):  # a viewer's .jar is another thing
        raise UnreadableMedium("A ZIP archive within an archive: unpack the outer one.")
    return content


def _absent(archive: Path, directory: ZipMember, held: Container[str]) -> Iterator[Outcome]:
    """Tell of each file that a DICOMDIR in an archive names and the archive does not hold."""
    above = directory.name.rpartition("/")[0]
    try:
        named = referenced_files(_unpacked(archive, directory))
    except UnreadableMedium as error:
        yield Outcome(state="failed", reason=str(error))
        return
    for parts in named:
        if "/".join(filter(None, (above, *parts))).casefold() not in held:
            reason = "The DICOMDIR names a file that the archive does not hold."
            yield Outcome(state="failed", reason=reason)


def _too_large(size: int) -> str:
    return f"It has {size} bytes; images of up to {MAXIMUM_INFLATED} are read."
