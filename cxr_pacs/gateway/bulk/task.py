"""What is to be done with every file of a run; it goes to each process that takes part."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cxr_pacs.gateway.bulk.pictures import PictureReader
from cxr_pacs.gateway.bulk.reader import BulkReader
from cxr_pacs.inference import Engine, ModelIdentity
from cxr_pacs.settings import Settings

__all__ = ["BulkTask"]

_TABLES = ("dicom", "model", "engine", "site", "evidence", "heatmap", "objects")


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkTask:
    """The same for every file.

    Attributes
    ----------
    tables : str
        JSON of the settings that matter; not the others, since an address may hold a password.
    digest : str
        SHA-256 over model, settings and version: with another one the same file is read otherwise, or other
        objects are made of it.
    out : Path
        Where the objects go.
    now : float
        Seconds since the epoch; the time that the objects have.
    pictures : bool
        Whether PNG and JPEG files are read.
    """

    tables: str
    digest: str
    out: Path
    now: float
    pictures: bool

    @classmethod
    def of(cls, settings: Settings, model: ModelIdentity, out: Path, now: float, *, pictures: bool) -> Self:
        """Put a task together."""
        tables = settings.model_dump_json(include=set(_TABLES))
        return cls(
            tables=tables,
            digest=_digest(settings, model, pictures),
            out=out.absolute(),
            now=now,
            pictures=pictures,
        )

    @property
    def settings(self) -> Settings:
        """The settings that matter; the others as if a site had set nothing."""
        return Settings.model_validate_json(self.tables)

    def digest_with(self, model: ModelIdentity) -> str:
        """Return what `digest` would be in this process, with `model`."""
        return _digest(self.settings, model, self.pictures)

    def reader(self, engine: Engine) -> BulkReader:
        """Return who does it in this process."""
        settings = self.settings
        pictures = PictureReader(settings, engine, self.out) if self.pictures else None
        return BulkReader(settings, engine, self.out, self.now, pictures)


def _digest(settings: Settings, model: ModelIdentity, pictures: bool) -> str:  # noqa: FBT001
    relevant = {
        "model": model.digest,
        "output": settings.output_digest(),
        "namespace": str(settings.site.uid_namespace),
        "objects": settings.objects.model_dump(),
        "pictures": pictures,
    }
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
