"""Codes: values of the standard, and an unknown class is an error that says what to do."""

from __future__ import annotations

import dataclasses
import re

import pytest
from pydicom.sr.coding import Code

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import codes, words
from cxr_pacs.inference.findings import ClassCode

ALL = {name: value for name, value in vars(codes).items() if isinstance(value, Code)}


@pytest.mark.parametrize(
    ("name", "value", "scheme"),
    [
        ("CERTAINTY", "111012", "DCM"),
        ("CLASS_ACTIVATION", "130402", "DCM"),
        ("ALGORITHM_FAMILY", "123110", "DCM"),
        ("BILATERAL", "51440002", "SCT"),
        ("COMMENT", "121106", "DCM"),
        ("CONCLUSION", "121077", "DCM"),
        ("INDETERMINATE", "82334004", "SCT"),
        ("LEFT", "7771000", "SCT"),
        ("RIGHT", "24028007", "SCT"),
        ("DEVICE", "121007", "DCM"),
        ("ILLUSTRATION", "121080", "DCM"),
        ("PROCESSING_EQUIPMENT", "109102", "DCM"),
        ("QUALITY", "111050", "DCM"),
        ("REPORT_TITLE", "126000", "DCM"),
        ("SOURCE_IMAGE", "121322", "DCM"),
        ("LUNG", "39607008", "SCT"),
        ("POSITIVE", "10828004", "SCT"),
        ("NEGATIVE", "260385009", "SCT"),
        ("NOT_EVALUATED", "373121007", "SCT"),
        ("CLASSIFICATION", "278201002", "SCT"),
        ("PLAIN_CHEST_XRAY", "399208008", "SCT"),
        ("PERCENT", "%", "UCUM"),
        ("QUALITATIVE_EVALUATIONS", "C0034375", "UMLS"),
    ],
)
def test_each_concept_is_the_one_the_standard_means(name, value, scheme):
    assert (ALL[name].value, ALL[name].scheme_designator) == (value, scheme)


def test_classes_have_the_codes_that_the_model_gives(model):
    found = codes.finding(model, "covid19")
    assert found == Code("840539006", "SCT", "COVID-19")
    other = dataclasses.replace(
        model, classes=(ClassCode(label="covid19", value="x", scheme="99", meaning="Other meaning"),)
    )
    assert codes.finding(other, "covid19") == Code("x", "99", "Other meaning")
    assert codes.class_names(other, ["covid19"], words.OR, "en") == "other meaning"


@pytest.mark.parametrize("code", ALL.values(), ids=str)
def test_every_code_fits_the_code_sequence_macro(code):
    assert re.fullmatch(r"\S{1,16}", code.value)
    assert re.fullmatch(r"\S{1,16}", code.scheme_designator)
    assert 0 < len(code.meaning) <= 64
    item = codes.item(code)
    assert (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) == code[:3]


def test_a_class_without_a_code_is_refused_by_model_and_name(model):
    with pytest.raises(EvidenceError, match=r"example-resnet50 1\.2\.0 names no code.*'tuberculosis'"):
        codes.coded_class(model, "tuberculosis")


def test_a_head_without_normal_answers_under_a_condition(model):
    assert codes.question(model, ["covid19", "bacterial_pneumonia"], "en") == (
        "assuming pneumonia: COVID-19 against bacterial pneumonia"
    )
    assert codes.question(model, ["covid19", "bacterial_pneumonia", "normal"], "en") == (
        "COVID-19, bacterial pneumonia or normal"
    )
    other = ClassCode(label="not_covid19", value="74964007", scheme="SCT", meaning="Other")
    model = dataclasses.replace(model, classes=(*model.classes, other))
    assert codes.question(model, ["covid19", "not_covid19"], "en") == "COVID-19 or other"
    assert codes.class_names(model, ["normal"], words.OR, "en") == "normal"
