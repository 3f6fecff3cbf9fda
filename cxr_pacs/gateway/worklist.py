"""The worklist served to modalities: the store's items as answers of the network's query service."""

from __future__ import annotations

from cxr_pacs import dimse
from cxr_pacs.ordering import WorklistSettings
from cxr_pacs.settings import DicomSettings
from cxr_pacs.worklist import Query, Worklist, encoded_answer

__all__ = ["local_entity", "worklist_service"]


def worklist_service(worklist: Worklist, settings: WorklistSettings) -> dimse.Service:
    """Modality Worklist SCP over `worklist`."""

    def find(asked: dimse.AskedWorklist) -> dimse.FoundWorklist:
        query = Query.of(asked.identifier, fuzzy=asked.fuzzy or settings.fuzzy_names)
        return dimse.FoundWorklist(
            answers=(encoded_answer(query, item, explicit=asked.explicit) for item in worklist.find(query)),
            all_supported=query.all_supported,
        )

    return dimse.worklist_scp(find, settings.most_answers)


def local_entity(dicom: DicomSettings) -> dimse.LocalEntity:
    """Our application entity, as the settings have it."""
    return dimse.LocalEntity(
        ae_title=dicom.ae_title,
        host=dicom.host,
        port=dicom.port,
        calling_ae_titles=dicom.calling_ae_titles,
        max_associations=dicom.max_associations,
    )
