"""Codes: values of the standard, and an unknown class is an error that says what to do."""

from __future__ import annotations

import re

import pytest
from pydicom.sr.coding import Code

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import codes

ALL = {name: value for name, value in vars(codes).items() if isinstance(value, Code)}


@pytest.mark.parametrize(
    ("name", "value", "scheme"),
    [
        ("CERTAINTY", "111012", "DCM"),
        ("CLASS_ACTIVATION", "130402", "DCM"),
        ("ALGORITHM_FAMILY", "123110", "DCM"),
        ("COMMENT", "121106", "DCM"),
        ("DEVICE", "121007", "DCM"),
        ("ILLUSTRATION", "121080", "DCM"),
        ("PROCESSING_EQUIPMENT", "109102", "DCM"),
        ("QUALITY", "111050", "DCM"),
        ("REPORT_TITLE", "126000", "DCM"),
        ("SOURCE_IMAGE", "121322", "DCM"),
        ("LUNG", "39607008", "SCT"),
        ("POSITIVE", "10828004", "SCT"),
        ("NEGATIVE", "260385009", "SCT"),
        ("CLASSIFICATION", "278201002", "SCT"),
        ("PLAIN_CHEST_XRAY", "399208008", "SCT"),
        ("PERCENT", "%", "UCUM"),
        ("QUALITATIVE_EVALUATIONS", "C0034375", "UMLS"),
    ],
)
def test_each_concept_is_the_one_the_standard_means(name, value, scheme):
    assert (ALL[name].value, ALL[name].scheme_designator) == (value, scheme)


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("covid19", "840539006"),
        ("bacterial_pneumonia", "53084003"),
        ("normal", "17621005"),
        ("not_covid19", "74964007"),
    ],
)
def test_classes_are_coded_in_snomed_ct(label, value):
    finding = codes.coded_class(label).finding
    assert (finding.value, finding.scheme_designator) == (value, "SCT")


@pytest.mark.parametrize("code", [*ALL.values(), *(c.finding for c in codes.CLASSES.values())], ids=str)
def test_every_code_fits_the_code_sequence_macro(code):
    assert re.fullmatch(r"\S{1,16}", code.value)
    assert re.fullmatch(r"\S{1,16}", code.scheme_designator)
    assert 0 < len(code.meaning) <= 64
    item = codes.item(code)
    assert (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) == code[:3]


def test_a_class_of_a_future_bundle_is_refused_with_the_way_out():
    with pytest.raises(EvidenceError, match=r"'tuberculosis' has no code.*normal.*codes"):
        codes.coded_class("tuberculosis")


def test_a_head_without_normal_answers_under_a_condition():
    assert codes.question(["covid19", "bacterial_pneumonia"]) == (
        "assuming pneumonia: COVID-19 against bacterial pneumonia"
    )
    assert codes.question(["covid19", "bacterial_pneumonia", "normal"]) == (
        "COVID-19, bacterial pneumonia or normal"
    )
    assert codes.question(["covid19", "not_covid19"]) == "COVID-19 or not COVID-19"
    assert codes.class_names(["normal"], "or") == "normal"
