"""The whole statement, in the order of PS3.2 annex A."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from cxr_pacs import __version__
from cxr_pacs.evidence.identity import EQUIPMENT_MODEL, MANUFACTURER
from cxr_pacs.evidence.words import sentence
from cxr_pacs.gateway.statement.examples import example_objects
from cxr_pacs.gateway.statement.markdown import named, table
from cxr_pacs.gateway.statement.network import networking, services_overview
from cxr_pacs.gateway.statement.objects import (
    character_sets,
    coded_terminology,
    created_objects,
    private_attributes,
)
from cxr_pacs.inference import Bundle
from cxr_pacs.settings import Settings, WebDestination

__all__ = ["conformance_statement"]

# What no peer can see; a database's URL may hold a password.
_INTERNAL = frozenset({"database", "engine", "spool"})


def conformance_statement(settings: Settings, bundle: Bundle) -> str:
    """Write the statement for `settings` and the model in `bundle`, as Markdown.

    Raises
    ------
    EvidenceError
        The objects that the settings ask for cannot be made.

    References
    ----------
    PS3.2 annex A.
    """
    objects = example_objects(settings, bundle)
    model = bundle.identity
    return (
        "\n\n".join(
            (
                "# DICOM conformance statement",
                table(
                    ("Product", "Version", "Manufacturer", "Model", "Model's device UID"),
                    [
                        (
                            EQUIPMENT_MODEL,
                            __version__,
                            MANUFACTURER,
                            f"{model.name} {model.version}",
                            model.device_uid,
                        )
                    ],
                ),
                named(
                    "Overview",
                    2,
                    "Chest radiographs come by C-STORE; a report and pictures that a neural network makes of "
                    "them go to the same study by C-STORE. Not a diagnostic device: every report is "
                    f"preliminary and unverified. {sentence(model.intended_use)}",
                    services_overview(settings, objects),
                    "The gateway writes and reads no media; no image can be queried or retrieved here; there "
                    f"is no printing, and {_dicomweb(settings)}.",
                ),
                named("Networking", 2, networking(settings, objects)),
                named(
                    "Configuration", 2, "As it runs:", table(("Setting", "Value"), _configuration(settings))
                ),
                named(
                    "Media interchange",
                    2,
                    "None by the gateway. The command `analyse` reads Part 10 files, ZIP archives of them, "
                    "and file-sets by the records of their DICOMDIR; no application profile is claimed.",
                ),
                character_sets(),
                named("Security", 2, *_security(settings)),
                named(
                    "Annexes",
                    2,
                    created_objects(objects),
                    private_attributes(objects),
                    coded_terminology(objects, bundle),
                    named(
                        "Grayscale image consistency",
                        3,
                        "Nothing is displayed. Radiographs are read as P-values: Modality LUT, VOI LUT (the "
                        "first, a sequence before a window), Presentation LUT shape.",
                    ),
                    named(
                        "Standard extended, specialised and private SOP classes and transfer syntaxes",
                        3,
                        "No specialised or private ones. Where an object is standard extended, its section "
                        "says so.",
                    ),
                ),
            )
        )
        + "\n"
    )


def _dicomweb(settings: Settings) -> str:
    web = any(isinstance(destination, WebDestination) for destination in settings.destination)
    return "of DICOMweb the storing alone" if web else "no DICOMweb"


def _security(settings: Settings) -> tuple[str, str]:
    callers = settings.dicom.calling_ae_titles
    return (
        (
            "No secure transport profile: associations are plain TCP. Put the gateway into a protected "
            "network or behind a TLS proxy."
        ),
        f"The called AE title must be {settings.dicom.ae_title}. "
        + (
            f"Calling AE titles are limited to {', '.join(callers)}."
            if callers
            else "Any calling AE title may associate."
        ),
    )


def _configuration(settings: Settings) -> Iterator[tuple[str, object]]:
    """Every setting that a peer can notice, with its value."""
    for name in type(settings).model_fields:
        part = getattr(settings, name)
        if name in _INTERNAL or not isinstance(part, BaseModel):
            continue  # destinations and modalities have tables of their own
        for key in type(part).model_fields:
            value = getattr(part, key)
            yield f"{name}.{key}", ", ".join(map(str, value)) if isinstance(value, tuple) else value
