"""Typed settings: one TOML file, read and checked whole before anything starts."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from cxr_pacs import __version__
from cxr_pacs.errors import SettingsError
from cxr_pacs.ordering import Hl7Settings, MppsDestination, MppsSettings, OrderCheckSettings, WorklistSettings
from cxr_pacs.sending import (
    DESTINATION_KINDS,
    DeliverySettings,
    DestinationSettings,
    DicomDestination,
    FolderDestination,
    RouteSettings,
    WebDestination,
    wrong_routes,
)
from cxr_pacs.setting_types import AETitle, Port, Seconds, Source, Table
from cxr_pacs.watching import WatchSettings, wrong_watches

__all__ = [
    "ArchiveSettings",
    "CommitmentSettings",
    "DatabaseSettings",
    "DeliverySettings",
    "DestinationSettings",
    "DicomDestination",
    "DicomSettings",
    "EngineSettings",
    "EvidenceSettings",
    "FetchSettings",
    "FolderDestination",
    "HeatmapSettings",
    "Hl7Settings",
    "ModalitySettings",
    "ModelSettings",
    "MppsDestination",
    "MppsSettings",
    "ObjectsSettings",
    "OrderCheckSettings",
    "RetentionSettings",
    "RouteSettings",
    "Settings",
    "SiteSettings",
    "SpoolSettings",
    "StudySettings",
    "WatchSettings",
    "WebDestination",
    "WorklistSettings",
    "load_settings",
    "parse_settings",
]


Share = Annotated[float, Field(gt=0, le=1)]


class DicomSettings(Table):
    """``[dicom]``: the gateway as an application entity."""

    ae_title: AETitle = "CXRPACS"
    host: str = "127.0.0.1"
    port: Port = 11112
    calling_ae_titles: tuple[AETitle, ...] = Field(default=(), strict=False)
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 10
    accept_for_processing: bool = False


class SpoolSettings(Table):
    """``[spool]``: where files wait, and how full their disk may become (share in use, as ``df`` counts)."""

    path: Annotated[Path, Field(strict=False)] = Path("spool")
    high_watermark: Share = 0.95
    low_watermark: Share = 0.90

    @model_validator(mode="after")
    def _low_is_not_above_high(self) -> Self:
        if self.low_watermark > self.high_watermark:
            raise ValueError("low_watermark is above high_watermark")
        return self


class DatabaseSettings(Table):
    """``[database]``: the ledger; empty means ``ledger.sqlite`` in the spool."""

    url: str = ""


class StudySettings(Table):
    """``[study]``: when a study is complete enough to report."""

    quiet_period: Seconds = 5.0
    quiet_period_of: dict[Source, Seconds] = Field(default_factory=dict)
    after_release: Seconds = 2.0
    longest_wait: Seconds = 300.0


class ModelSettings(Table):
    """``[model]``: which bundle reads."""

    bundle: str = "covid-pneumonia-resnet50"


class EngineSettings(Table):
    """``[engine]``: on what the model runs."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|gpu:\d+)$")] = "auto"


class SiteSettings(Table):
    """``[site]``: what makes this site's output its own."""

    uid_namespace: Annotated[uuid.UUID, Field(strict=False)] = uuid.UUID(
        "6c7a1f0e-5c1b-5d5e-9a51-0d3c8f1f2b77"
    )


class EvidenceSettings(Table):
    """``[evidence]``: how report and heatmap are written."""

    language: Literal["en", "es"] = "en"


class HeatmapSettings(Table):
    """``[heatmap]``: how the heatmap picture is drawn and encoded."""

    size: Literal["1024", "source"] = "1024"
    encoding: Literal["native", "rle", "jpeg-ls"] = "native"
    second_without_text: bool = False


class ObjectsSettings(Table):
    """``[objects]``: what is made beside report and heatmap."""

    segmentation: bool = False
    presentation_state: bool = False
    key_objects: bool = False
    plain_report: bool = False


class CommitmentSettings(Table):
    """``[commitment]``: storage commitment, asked of destinations and given to modalities."""

    gather: Seconds = 5.0
    wait: Seconds = 5.0
    report_within: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 86400.0
    provide: bool = False


class RetentionSettings(Table):
    """``[retention]``: days after a study's last activity after which it is deleted; 0 keeps it for ever."""

    files_days: Annotated[int, Field(ge=0)] = 0
    rows_days: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _rows_outlive_files(self) -> Self:
        if self.rows_days and not 0 < self.files_days <= self.rows_days:
            raise ValueError(
                "rows cannot go before the files that they name: set files_days to rows_days or less"
            )
        return self


class ModalitySettings(Table):
    """``[[modality]]``: where a modality that asks for storage commitment is told the outcome."""

    ae_title: AETitle
    host: str
    port: Port


class FetchSettings(Table):
    """``[fetch]``: which studies of the archives are asked for, and how often."""

    every: Seconds = 0.0
    look_back: Annotated[float, Field(gt=0, le=24 * 366)] = 24.0
    modalities: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Z0-9_ ]{1,16}$")], ...], Field(min_length=1, strict=False)
    ] = ("CR", "DX")
    most_studies: Annotated[int, Field(ge=1)] = 500
    patience: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0


class ArchiveSettings(Table):
    """``[[archive]]``: a PACS that is asked for what was missed."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    ae_title: AETitle
    host: str
    port: Port
    method: Literal["get", "move"] = "get"


class Settings(Table):
    """Everything that a site may set; see ``config/default.toml`` for the meaning of each key."""

    dicom: DicomSettings = DicomSettings()
    spool: SpoolSettings = SpoolSettings()
    database: DatabaseSettings = DatabaseSettings()
    study: StudySettings = StudySettings()
    model: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    site: SiteSettings = SiteSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    heatmap: HeatmapSettings = HeatmapSettings()
    objects: ObjectsSettings = ObjectsSettings()
    delivery: DeliverySettings = DeliverySettings()
    fetch: FetchSettings = FetchSettings()
    retention: RetentionSettings = RetentionSettings()
    destination: tuple[DestinationSettings, ...] = Field(default=(), strict=False)
    archive: tuple[ArchiveSettings, ...] = Field(default=(), strict=False)
    route: tuple[RouteSettings, ...] = Field(default=(), strict=False)
    watch: tuple[WatchSettings, ...] = Field(default=(), strict=False)
    commitment: CommitmentSettings = CommitmentSettings()
    modality: tuple[ModalitySettings, ...] = Field(default=(), strict=False)
    worklist: WorklistSettings = WorklistSettings()
    hl7: Hl7Settings = Hl7Settings()
    mpps: MppsSettings = MppsSettings()
    order_check: OrderCheckSettings = OrderCheckSettings()
    mpps_destination: tuple[MppsDestination, ...] = Field(default=(), strict=False)

    @property
    def committing(self) -> tuple[DicomDestination, ...]:
        """Destinations that are asked for storage commitment."""
        return tuple(d for d in self.destination if isinstance(d, DicomDestination) and d.commitment)

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.database.url or f"sqlite:///{self.spool.path / 'ledger.sqlite'}"

    def output_digest(self) -> str:
        """SHA-256 over what changes the bytes of an output beside its source and model; part of its UID."""
        relevant = {
            "accept_for_processing": self.dicom.accept_for_processing,
            "software_version": __version__,
            # what a site leaves as it is keeps the UIDs of before there was the choice
            **self.model_dump(include={"evidence", "heatmap"}, exclude_defaults=True),
        }
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


# By which key the tables of a kind are told apart.
_IDENTIFYING = (
    ("destination", "name"),
    ("archive", "name"),
    ("modality", "ae_title"),
    ("mpps_destination", "name"),
    ("watch", "name"),
)
_REPEATED: dict[str, Any] = {
    "archive": ArchiveSettings,
    "route": RouteSettings,
    "modality": ModalitySettings,
    "watch": WatchSettings,
    "mpps_destination": MppsDestination,
}


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """Name the keys of the table that holds the last key of `location`."""
    model: Any = Settings
    for key in location[:-1]:
        if key == "destination":
            return [name for kind in DESTINATION_KINDS.values() for name in kind.model_fields]
        if isinstance(key, str):
            model = _REPEATED[key] if key in _REPEATED else model.model_fields[key].annotation
    return list(model.model_fields)


def _explain(error: Any) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location if part not in DESTINATION_KINDS)
    if error["type"] != "extra_forbidden":
        # An address may hold a password, and a whole table an address.
        secret = location[-1] == "url" or isinstance(error["input"], dict)
        return f"{key}: {error['msg']}" + ("" if secret else f" (got {error['input']!r})")
    near = difflib.get_close_matches(str(location[-1]), _known_keys(location), n=1)
    return f"{key}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")


def parse_settings(text: str, origin: str) -> Settings:
    """Check the text of a settings file.

    Parameters
    ----------
    text : str
        TOML.
    origin : str
        Named in errors, usually the file's path.

    Raises
    ------
    SettingsError
        With one line for each wrong key.
    """
    try:
        settings = Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{origin}: not valid TOML: {error}") from error
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(item)}" for item in error.errors())
        raise SettingsError(f"{origin}: these settings are wrong:\n{lines}") from error
    for table, key in _IDENTIFYING:
        names = [getattr(one, key) for one in getattr(settings, table)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise SettingsError(f"{origin}: {table}.{key}: used twice: {', '.join(repeated)}")
    forgets, looks_back = settings.retention.rows_days * 24, settings.fetch.look_back
    if settings.fetch.every and 0 < forgets < looks_back:
        raise SettingsError(
            f"{origin}: retention.rows_days: {forgets} h are less than the {looks_back:g} h of "
            "fetch.look_back: what was forgotten would be fetched again"
        )
    if settings.mpps_destination and not settings.mpps.serve:
        raise SettingsError(
            f"{origin}: mpps_destination: no performed procedure step is taken that could be sent on: "
            "set mpps.serve = true"
        )
    if wrong := [
        *wrong_routes(settings.route, settings.destination),
        *wrong_watches(settings.watch, settings.spool.path, settings.destination),
    ]:
        lines = "\n".join(f"  {line}" for line in wrong)
        raise SettingsError(f"{origin}: these settings are wrong:\n{lines}")
    return settings


def load_settings(path: Path) -> Settings:
    """Read and check the settings file at `path`; SettingsError as `parse_settings`, or when unreadable."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: the settings file cannot be read: {error}") from error
    return parse_settings(text, str(path))
