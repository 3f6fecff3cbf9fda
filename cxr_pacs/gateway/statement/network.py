"""What the statement says of the network: application entities, associations, contexts, statuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom import FileDataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import time

from cxr_pacs.dimse import Service, associations, query, retrieve, storage, worklist
from cxr_pacs.gateway import intake
from cxr_pacs.gateway.service import (
    ASSOCIATION_GRACE,
    commitment_service,
    offered_services,
    performed_step_service,
    storage_service,
)
from cxr_pacs.gateway.statement import commitment, orders, procedure_steps
from cxr_pacs.gateway.statement import worklist as served_worklist
from cxr_pacs.gateway.statement.markdown import named, table
from cxr_pacs.gateway.statement.web import web_and_folders
from cxr_pacs.radiograph import SelectionPolicy, decodable_transfer_syntaxes
from cxr_pacs.radiograph.deflated import MAXIMUM_INFLATED
from cxr_pacs.sending import PaceSettings
from cxr_pacs.settings import DicomDestination, Settings

__all__ = ["networking", "services_overview"]

_SCP_STATUSES = (
    (
        storage.SUCCESS,
        "Success",
        "The file, its folder and a ledger row are on the disk. Verification: always.",
    ),
    (
        storage.OUT_OF_RESOURCES,
        "Refused: out of resources",
        "The spool's disk is above its watermark, or disk or ledger did not take it: send it again later.",
    ),
    (
        intake.DATA_SET_DOES_NOT_MATCH,
        "Error: data set does not match SOP class",
        "A UID of class, instance, series or study is missing, not valid, or not that of the request.",
    ),
    (
        intake.CANNOT_UNDERSTAND,
        "Error: cannot understand",
        f"The data set cannot be parsed, or is deflated and holds more than {MAXIMUM_INFLATED} bytes.",
    ),
    (
        storage.PROCESSING_FAILURE,
        "Processing failure",
        "An error that was not foreseen; the association goes on.",
    ),
)


def services_overview(settings: Settings, objects: Sequence[FileDataset]) -> str:
    """List the SOP classes with the roles in which they are supported."""
    received = {context for service in _services(settings) for context, _ in service.contexts}
    asked = (*query.find_contexts(), retrieve.get_contexts(_storage(settings))[0], *retrieve.move_contexts())
    sent = {str(made.SOPClassUID) for made in objects} | {str(context.abstract_syntax) for context in asked}
    sent |= {worklist.SOP_CLASS} if settings.order_check.worklist == "remote" else set()
    sent |= {
        *_forwarded_classes(settings),
        *(str(c.abstract_syntax) for c in procedure_steps.contexts(settings)),
    }
    # A user of storage commitment listens for reports, too.
    received -= {commitment.SOP_CLASS}
    sent |= {commitment.SOP_CLASS} if settings.committing else set()
    received |= {commitment.SOP_CLASS} if settings.commitment.provide else set()
    rows = (
        (UID(uid).name, uid, _yes(uid in sent), _yes(uid in received))
        for uid in sorted(received | sent, key=lambda uid: UID(uid).name)
    )
    return table(("SOP class", "SOP class UID", "User (SCU)", "Provider (SCP)"), rows)


def networking(settings: Settings, objects: Sequence[FileDataset]) -> str:
    """Describe the application entity in both roles, and its network interface."""
    title = settings.dicom.ae_title
    return "\n\n".join(
        (
            named(
                "Implementation model",
                3,
                f"One application entity, {title}. As Storage SCP it receives radiographs and analyses them. "
                "As Storage SCU it sends report and pictures to every destination, each object on an "
                "association of its own. A study is reported once no image of it has come for "
                f"{settings.study.quiet_period:g} s, or {settings.study.after_release:g} s after the "
                "association that brought the newest one was released; at the latest "
                f"{settings.study.longest_wait:g} s after the first one that no report says.",
                _reading(settings),
            ),
            named(f"Application entity {title}", 3, _policies(settings)),
            named("Association acceptance (SCP)", 4, *_acceptance(settings)),
            named("Association initiation (SCU)", 4, *_initiation(settings, objects)),
            named("Query and retrieve (SCU)", 4, *_retrieval(settings)),
            named("Storage commitment", 4, *commitment.paragraphs(settings)),
            named("Modality worklist (SCP)", 4, *served_worklist.paragraphs(settings)),
            named("Orders of images", 4, *orders.paragraphs(settings)),
            named("Modality performed procedure steps", 4, *procedure_steps.paragraphs(settings)),
            named("Instance availability notification", 4, *procedure_steps.availability(settings)),
            *([named("DICOMweb and files", 3, *other)] if (other := web_and_folders(settings)) else []),
            named(
                "Network interfaces",
                3,
                f"TCP/IP; listens on {settings.dicom.host}, port {settings.dicom.port}.",
            ),
        )
    )


def _services(settings: Settings) -> tuple[Service, ...]:
    commitment_or_none = commitment_service(settings, lambda *_: False, lambda _: False)
    steps = performed_step_service(settings, _NoSteps())
    return offered_services(_storage(settings), commitment_or_none, steps, served_worklist.service(settings))


class _NoSteps:
    """Stands where steps are kept: only what is negotiated is looked at."""

    def create(self, *_: object) -> bool:
        return False

    change = create


def _storage(settings: Settings) -> Service:
    return storage_service(settings.dicom, lambda _: None)


def _reading(settings: Settings) -> str:
    policy = SelectionPolicy(accept_for_processing=settings.dicom.accept_for_processing)
    identity = " without Patient ID are held." if policy.require_patient_id else " need no Patient ID."
    return (
        "Every instance that is received is kept, but for the gateway's own objects routed back. Read are "
        "frontal chest radiographs of a person, of one frame, "
        f"{policy.minimum_side} pixels or more on each side; others are skipped, unclear ones held. "
        f"Instances{identity}"
    )


def _policies(settings: Settings) -> str:
    ae = AE(ae_title=settings.dicom.ae_title)
    rows = (
        ("Application context name", "1.2.840.10008.3.1.1.1"),
        ("Maximum PDU length received, bytes", associations.MAXIMUM_PDU),
        ("Implementation class UID", ae.implementation_class_uid),
        ("Implementation version name", ae.implementation_version_name),
        ("Asynchronous operations", "not supported: one operation at a time"),
        ("User identity", "not supported"),
        ("Extended negotiation", served_worklist.extended_negotiation(settings)),
        (
            "Role selection",
            f"as SCP of storage on associations for C-GET; {commitment.role_selection(settings)}",
        ),
        ("Associations accepted at once", settings.dicom.max_associations),
        ("Associations initiated at once, by each process, to each destination", _at_once(settings)),
        ("Time-out of association messages (ACSE), s", f"{associations.ACSE_SECONDS:g}"),
        ("Time-out of DIMSE messages, s", f"{associations.DIMSE_SECONDS:g}"),
        ("Time-out of an idle network, s", f"{associations.NETWORK_SECONDS:g}"),
        ("Time-out of connecting, s", f"{associations.CONNECT_SECONDS:g}"),
        ("Open associations end, when the gateway stops, within s", f"{ASSOCIATION_GRACE:g}"),
    )
    return table(("Policy", "Value"), rows)


def _acceptance(settings: Settings) -> tuple[str, ...]:
    callers = settings.dicom.calling_ae_titles
    who = f"from the AE titles {', '.join(callers)} only" if callers else "from any calling AE title"
    contexts = (
        (UID(abstract).name, abstract, UID(transfer).name, transfer)
        for service in _services(settings)
        for abstract, transfers in service.contexts
        for transfer in transfers
    )
    statuses = ((f"{status:04X}", meaning, said) for status, meaning, said in _SCP_STATUSES)
    return (
        (
            f"Associations are accepted that call {settings.dicom.ae_title}, {who}. One more than the limit "
            "is rejected as transient. Of several transfer syntaxes in one context the first of this table "
            "that the proposer lists is taken. For storage, those are offered of which this installation "
            "decoded a sample."
        ),
        "Presentation contexts accepted:",
        table(("Abstract syntax", "UID", "Transfer syntax", "UID"), contexts),
        "Statuses returned by C-STORE and C-ECHO:",
        table(("Status", "Meaning", "When"), statuses),
        (
            "The same data set again is answered with success and changes nothing. Conformance of storage is "
            "level 2 (full): the file is kept as it came, and no attribute is coerced."
        ),
    )


def _initiation(settings: Settings, objects: Sequence[FileDataset]) -> tuple[str, ...]:
    contexts = dict.fromkeys(
        (made.SOPClassUID.name, made.SOPClassUID, UID(transfer).name, transfer)
        for made in objects
        for transfer in storage.proposed_context(
            made.SOPClassUID, made.file_meta.TransferSyntaxUID
        ).transfer_syntax
    )
    contexts |= dict.fromkeys(
        (abstract.name, abstract, transfer.name, transfer)
        for abstract in map(UID, _forwarded_classes(settings))
        for transfer in map(UID, decodable_transfer_syntaxes())
    )
    contexts |= dict.fromkeys((*commitment.contexts(settings), *procedure_steps.context_rows(settings)))
    delivery = settings.delivery
    warnings = ", ".join(f"{status:04X}" for status in sorted(storage.WARNINGS))
    high = storage.OUT_OF_RESOURCES >> 8
    behaviour = (
        (f"{storage.SUCCESS:04X}", "delivered"),
        (warnings, "delivered, with a warning in the log"),
        (f"{high:02X}00 to {high:02X}FF", "tried again"),
        (", ".join(f"{status:04X}" for status in sorted(storage.PASSING)), "tried again"),
        ("any other", "parked with the status, for a person"),
        ("no answer, abort, no connection, association rejected", "tried again"),
        ("no presentation context accepted", "parked with the reason"),
    )
    archives = [d for d in settings.destination if isinstance(d, DicomDestination)]
    destinations = ((d.name, d.ae_title, d.host, d.port) for d in archives)
    return (
        "Destinations:",
        table(("Name", "AE title", "Host", "Port"), destinations),
        "Presentation contexts proposed, one in each association, for what is sent:",
        table(("Abstract syntax", "UID", "Transfer syntax", "UID"), contexts),
        (
            f"Behaviour by status. A repetition waits {delivery.first_retry:g} s, then twice as long each "
            f"time, {delivery.longest_retry:g} s at most, and up to a tenth longer at random; after "
            f"{delivery.give_up_after:g} s the object is parked. A report goes to a destination after "
            "those of its study that were made before it: one that is tried again holds back what follows, "
            "one that is parked does not."
        ),
        table(("Status of C-STORE", "The object is"), behaviour),
        *_forwarding(settings),
        (
            f"{UID(Verification).name} is requested of each destination by the command status, and every "
            f"{delivery.probe_every:g} s of one that objects wait for: once it answers, they are sent."
        ),
    )


def _retrieval(settings: Settings) -> tuple[str, ...]:
    archives = ((a.name, a.ae_title, a.host, a.port, f"C-{a.method.upper()}") for a in settings.archive)
    fetch = settings.fetch
    pace = f"Every {fetch.every:g} s, and at any time" if fetch.every and settings.archive else "Only"
    keys = (
        ("STUDY", "Study Date and Study Time (ranges), Modalities in Study", "Study Instance UID"),
        ("SERIES", "Study Instance UID", "Series Instance UID, Modality, Body Part Examined"),
        ("IMAGE", "Study Instance UID, Series Instance UID", "SOP Instance UID, SOP Class UID"),
    )
    return (
        (
            f"{pace} by the command `cxr-pacs fetch`, the archives are asked for studies of the modalities "
            f"{', '.join(fetch.modalities)} that were not received. Images that are not known are retrieved "
            "at IMAGE level, by a list of SOP Instance UIDs under their study and series. Without extended "
            "negotiation: hierarchical, dates and times matched apart from each other, in local time."
        ),
        "Archives:",
        table(("Name", "AE title", "Host", "Port", "Retrieval"), archives),
        "Keys of C-FIND (Study Root):",
        table(("Level", "Matched", "Asked back"), keys),
        "Presentation contexts proposed on an association for C-FIND:",
        _proposed(query.find_contexts()),
        "On one for C-GET, storage with the role of SCP:",
        _proposed(retrieve.get_contexts(_storage(settings))),
        "On one for C-MOVE, whose destination is the gateway itself:",
        _proposed(retrieve.move_contexts()),
        (
            "Status 0000, B000 and A702 end a retrieval; what did not come is asked for again by the next "
            "one. A7xx, A801, FE00, no answer and an abort are errors that may pass; any other status is "
            "said of what was asked for: a person must look at it, the rest is retrieved. A retrieval "
            f"without progress is given up after {fetch.patience:g} s."
        ),
    )


def _at_once(settings: Settings) -> str:
    usual = PaceSettings().at_once
    others = [(d.name, d.pace.at_once) for d in settings.destination if d.pace.at_once != usual]
    return "; ".join((str(usual), *(f"{name}: {count}" for name, count in others)))


def _proposed(contexts: Iterable[PresentationContext]) -> str:
    rows = (
        (UID(str(context.abstract_syntax)).name, str(context.abstract_syntax), UID(transfer).name, transfer)
        for context in contexts
        for transfer in context.transfer_syntax
    )
    return table(("Abstract syntax", "UID", "Transfer syntax", "UID"), rows)


def _forwarded_classes(settings: Settings) -> tuple[str, ...]:
    """SOP classes of originals that a route sends on by C-STORE."""
    archives = {d.name for d in settings.destination if isinstance(d, DicomDestination)}
    forwards = any(
        "original" in route.objects and archives & {*route.destinations} for route in settings.route
    )
    return intake.storage_classes(settings.dicom) if forwards else ()


def _forwarding(settings: Settings) -> tuple[str, ...]:
    sentence = (
        "Originals are sent on byte for byte, each in the transfer syntax in which it came and in no other, "
        "and never to the AE title that sent them."
    )
    return (sentence,) if _forwarded_classes(settings) else ()


def _yes(flag: bool) -> str:  # noqa: FBT001  a word for a flag
    return "yes" if flag else "no"
