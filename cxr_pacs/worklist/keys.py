"""Keys that the worklist supports: the attributes of the modules of PS3.4 Table K.6-1 (PS3.3 C.2 to C.4)."""

from __future__ import annotations

from typing import Final

from pydicom.datadict import tag_for_keyword

__all__ = ["SCHEDULED_STEP", "SUPPORTED"]

_STEP: Final = """
    ScheduledStationAETitle ScheduledStationName ScheduledProcedureStepLocation
    ScheduledProcedureStepStartDate ScheduledProcedureStepStartTime
    ScheduledProcedureStepEndDate ScheduledProcedureStepEndTime
    ScheduledPerformingPhysicianName ScheduledPerformingPhysicianIdentificationSequence
    ScheduledProcedureStepDescription ScheduledProtocolCodeSequence ScheduledProcedureStepID
    ScheduledProcedureStepStatus CommentsOnTheScheduledProcedureStep Modality RequestedContrastAgent
    PreMedication AnatomicalOrientationType ScheduledSpecimenSequence ReferencedDefinedProtocolSequence
    ReferencedPerformedProtocolSequence
"""
_REQUEST: Final = """
    RequestedProcedureID RequestedProcedureDescription RequestedProcedureCodeSequence StudyInstanceUID
    StudyDate StudyTime ReferencedStudySequence RequestedProcedurePriority PatientTransportArrangements
    ReasonForTheRequestedProcedure ReasonForRequestedProcedureCodeSequence RequestedProcedureComments
    RequestedProcedureLocation ConfidentialityCode ReportingPriority NamesOfIntendedRecipientsOfResults
    IntendedRecipientsOfResultsIdentificationSequence
    AccessionNumber IssuerOfAccessionNumberSequence RequestingPhysician
    RequestingPhysicianIdentificationSequence ReferringPhysicianName ReferringPhysicianAddress
    ReferringPhysicianTelephoneNumbers ReferringPhysicianIdentificationSequence ConsultingPhysicianName
    ConsultingPhysicianIdentificationSequence RequestingService RequestingServiceCodeSequence
    ReasonForTheImagingServiceRequest IssueDateOfImagingServiceRequest IssueTimeOfImagingServiceRequest
    PlacerOrderNumberImagingServiceRequest OrderPlacerIdentifierSequence
    FillerOrderNumberImagingServiceRequest OrderFillerIdentifierSequence OrderEnteredBy OrderEntererLocation
    OrderCallbackPhoneNumber OrderCallbackTelecomInformation ImagingServiceRequestComments
"""
_VISIT: Final = """
    InstitutionName InstitutionAddress InstitutionCodeSequence InstitutionalDepartmentName
    InstitutionalDepartmentTypeCodeSequence AdmissionID IssuerOfAdmissionIDSequence ServiceEpisodeID
    IssuerOfServiceEpisodeIDSequence ServiceEpisodeDescription ReasonForVisit ReasonForVisitCodeSequence
    VisitStatusID CurrentPatientLocation PatientInstitutionResidence VisitComments ReferencedPatientSequence
    ReferencedPatientAliasSequence ReferencedVisitSequence AdmittingDate AdmittingTime RouteOfAdmissions
    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence
"""
_PATIENT: Final = """
    PatientName PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence TypeOfPatientID
    OtherPatientNames OtherPatientIDsSequence PatientBirthName PatientMotherBirthName
    MedicalRecordLocator PatientBirthDate PatientBirthTime PatientBirthDateInAlternativeCalendar
    PatientAlternativeCalendar PatientSex PatientAge PatientSize PatientSizeCodeSequence PatientWeight
    PatientBodyMassIndex PatientAddress PatientTelephoneNumbers PatientTelecomInformation
    ConfidentialityConstraintOnPatientDataDescription EthnicGroup EthnicGroupCodeSequence Occupation
    PatientInsurancePlanCodeSequence PatientPrimaryLanguageCodeSequence PatientReligiousPreference
    MilitaryRank BranchOfService CountryOfResidence RegionOfResidence ResponsiblePerson
    ResponsiblePersonRole ResponsibleOrganization PatientSpeciesDescription PatientSpeciesCodeSequence
    PatientBreedDescription PatientBreedCodeSequence BreedRegistrationSequence QualityControlSubject
    StrainDescription StrainNomenclature StrainCodeSequence PatientState PregnancyStatus MedicalAlerts
    Allergies SpecialNeeds PatientSexNeutered SmokingStatus LastMenstrualDate AdditionalPatientHistory
    PertinentDocumentsSequence PertinentResourcesSequence PatientClinicalTrialParticipationSequence
    PatientComments
"""
_COMMON: Final = """
    SOPClassUID SOPInstanceUID InstanceCreationDate InstanceCreationTime InstanceCreatorUID
    InstanceNumber EncryptedAttributesSequence HL7StructuredDocumentReferenceSequence
"""


def _tags(keywords: str) -> frozenset[int]:
    return frozenset(tag for keyword in keywords.split() if (tag := tag_for_keyword(keyword)) is not None)


SCHEDULED_STEP: Final = _tags(_STEP)
"""In the item of Scheduled Procedure Step Sequence."""

SUPPORTED: Final = _tags(f"{_REQUEST} {_VISIT} {_PATIENT} {_COMMON} ScheduledProcedureStepSequence")
"""At the root. Within any other sequence, every attribute of the standard is supported."""
