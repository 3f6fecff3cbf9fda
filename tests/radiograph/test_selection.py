"""The ladder: what is accepted, skipped and held, and by which rung."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiographs import make_radiograph

from cxr_pacs.radiograph import SelectionPolicy, decide, frontal_view, read_header
from cxr_pacs.radiograph.vocabulary import words

CR = "1.2.840.10008.5.1.4.1.1.1"
DX_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SC = "1.2.840.10008.5.1.4.1.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"
CHEST = read_header(make_radiograph(StudyDescription=""))
NO_VIEW = {"view_position": "", "patient_orientation": (), "view_codes": ()}
NO_PART = {"body_part": "", "anatomic_regions": ()}


def described(series, keyword="SeriesDescription"):
    return {"descriptions": ((keyword, series),)}


def image(**changes):
    return {"image": dataclasses.replace(CHEST.image, **changes)}


def decided(policy=None, **changes):
    decision = decide(dataclasses.replace(CHEST, **changes), policy or SelectionPolicy())
    return decision.outcome.value, decision.rung


def test_the_plain_case():
    decision = decide(CHEST, SelectionPolicy())
    assert (decision.outcome, decision.rung) == ("accept", "view_position")
    assert decision.reason == "A chest radiograph; View Position names a frontal projection."


CASES = [
    # SOP class, intent, modality
    ({"sop_class_uid": CR, "modality": "CR"}, "accept view_position"),
    ({"sop_class_uid": SC, "modality": "CR"}, "accept view_position"),
    ({"sop_class_uid": SC, "modality": "RG", "image_type": ("DERIVED", "SECONDARY")}, "accept view_position"),
    ({"sop_class_uid": SC, "modality": "OT"}, "skip modality"),
    ({"sop_class_uid": SC, "modality": ""}, "hold modality"),
    ({"sop_class_uid": CR, "modality": ""}, "accept view_position"),
    ({"sop_class_uid": CT, "modality": "CT"}, "skip sop_class"),
    ({"sop_class_uid": None}, "hold sop_class"),
    ({"sop_class_uid": CR, "modality": "MG"}, "skip modality"),
    ({"sop_class_uid": DX_PROCESSING}, "skip presentation_intent"),
    ({"presentation_intent": "FOR PROCESSING"}, "skip presentation_intent"),
    ({"image_type": ("DERIVED", "SECONDARY")}, "accept view_position"),
    ({"image_type": ()}, "accept view_position"),
    # subject
    ({"species": ("HOMO", "SAPIENS")}, "accept view_position"),
    ({"species": ("337915000",)}, "accept view_position"),
    ({"species": ("448771007", "CANIS")}, "skip species"),
    (described("CANINE THORAX VD"), "skip species"),
    # body part
    ({"body_part": "THORAX", "anatomic_regions": ()}, "accept view_position"),
    ({"body_part": "CHEST PA", "anatomic_regions": ()}, "accept view_position"),
    ({"body_part": "PORT CHEST", "anatomic_regions": ()}, "accept view_position"),
    ({"body_part": "LUNG", "anatomic_regions": ()}, "accept view_position"),
    ({"body_part": "", "anatomic_regions": ("T-D3000",)}, "accept view_position"),
    ({"body_part": "HAND", "anatomic_regions": ()}, "skip body_part"),
    ({"body_part": "HIP", "anatomic_regions": ()}, "skip body_part"),
    ({"body_part": "HAND"}, "hold body_part"),  # the anatomic region says chest
    ({"body_part": "", "anatomic_regions": ("T-04000",)}, "skip body_part"),
    ({"body_part": "", "anatomic_regions": ()}, "hold body_part"),
    ({"body_part": "XYZ", "anatomic_regions": ()}, "hold body_part"),
    ({"body_part": "CHEST ABDOMEN", "anatomic_regions": ()}, "hold body_part"),
    ({**NO_PART, **described("Thorax p.a.")}, "accept view_position"),
    ({**NO_PART, **described("TÓRAX AP PORTÁTIL")}, "accept view_position"),
    ({**NO_PART, **described("Röntgen-Thorax im Liegen")}, "accept view_position"),
    ({**NO_PART, **described("PORT CHEST", "StudyDescription")}, "accept view_position"),
    ({**NO_PART, **described("HAND AP")}, "skip body_part"),
    ({**NO_PART, **described("KNEE", "StudyDescription")}, "skip body_part"),
    ({**NO_PART, **described("TEETH")}, "hold body_part"),
    ({**NO_PART, **described("RIBS WITH CHEST")}, "hold body_part"),
    (described("LOWER LEG"), "hold body_part"),
    (described("FEMUR", "StudyDescription"), "accept view_position"),  # of the study: another series
    # view
    ({"view_position": "AP"}, "accept view_position"),
    ({"view_position": "AP ERECT"}, "accept view_position"),
    ({"view_position": "LL"}, "skip view_position"),
    ({"view_position": "LAT"}, "skip view_position"),
    ({"view_position": "LATERAL"}, "skip view_position"),
    ({"view_position": "LLD"}, "skip view_position"),
    ({"view_position": "RAO"}, "skip view_position"),
    ({"view_position": "AP LORDOTIC"}, "skip view_position"),
    ({"view_codes": ("272479007",)}, "accept view_code_sequence"),
    ({"view_codes": ("R-10206",), "view_position": ""}, "accept view_code_sequence"),
    ({"view_codes": ("399173006",)}, "skip view_code_sequence"),
    ({"view_codes": ("399135007",)}, "skip view_code_sequence"),
    ({"view_codes": ("unheard-of",)}, "accept view_position"),
    ({"view_codes": ("272479007",), "view_position": "LL"}, "hold view_code_sequence"),
    ({"view_position": ""}, "accept patient_orientation"),
    ({"view_position": "", "patient_orientation": ("R", "F")}, "accept patient_orientation"),
    ({"view_position": "", "patient_orientation": ("A", "F")}, "skip patient_orientation"),
    ({"view_position": "", "patient_orientation": ("L", "P")}, "hold view"),
    ({"view_position": "", "patient_orientation": ("F", "P")}, "skip patient_orientation"),
    ({"view_position": "", "patient_orientation": ("L",)}, "hold view"),
    ({"view_position": "", "patient_orientation": ("F", "L")}, "hold patient_orientation"),
    ({"patient_orientation": ("A", "F")}, "hold view_position"),
    ({**NO_VIEW, **described("Chest PA")}, "accept description"),
    ({**NO_VIEW, **described("Thorax seitlich")}, "skip description"),
    ({**NO_VIEW, **described("CHEST LAT")}, "skip description"),
    ({**NO_VIEW, **described("CHEST PA/LAT")}, "hold view"),
    ({**NO_VIEW, **described("Chest PA", "StudyDescription")}, "hold view"),
    (described("CHEST LAT"), "hold view_position"),
    (described("CHEST PA AND LATERAL"), "accept view_position"),
    (NO_VIEW, "hold view"),
    # identity
    ({"has_patient_id": False}, "hold identity"),
    ({"study_instance_uid": None}, "hold identity"),
    ({"series_instance_uid": None}, "hold identity"),
    ({"sop_instance_uid": None}, "hold identity"),
    ({"study_instance_uid": "1.2..3"}, "hold identity"),
    ({"study_instance_uid": "../../etc/passwd"}, "hold identity"),
    ({"sop_instance_uid": "1.2/3"}, "hold identity"),
    ({"sop_instance_uid": "1." + 63 * "2"}, "hold identity"),
    ({"sop_instance_uid": "1.2\n"}, "hold identity"),
    ({"study_instance_uid": "1.02.3"}, "accept view_position"),  # real equipment writes leading zeros
    # picture
    (image(has_pixel_data=False), "hold image"),
    (image(rows=0), "hold image"),
    (image(rows=None), "hold image"),
    (image(columns=127), "hold image"),
    (image(columns=128), "accept view_position"),
    (image(frames=2), "skip image"),
    (image(samples_per_pixel=3, photometric_interpretation="RGB"), "skip image"),
    (image(samples_per_pixel=3, photometric_interpretation="YBR_FULL_422"), "skip image"),
    (image(photometric_interpretation="PALETTE COLOR"), "skip image"),
    (image(photometric_interpretation=""), "hold image"),
    (image(bits_stored=17), "hold image"),
    # what is not ours needs nobody to look, whatever else is wrong with it
    ({"sop_class_uid": CT, "has_patient_id": False}, "skip sop_class"),
    ({"body_part": "HAND", "anatomic_regions": (), **image(has_pixel_data=False)}, "skip body_part"),
]


@pytest.mark.parametrize(("changes", "expected"), CASES)
def test_decision(changes, expected):
    assert " ".join(decided(**changes)) == expected


@pytest.mark.parametrize(
    ("changes", "view"),
    [
        ({}, "PA"),
        ({"view_position": "AP"}, "AP"),
        (NO_VIEW, None),
        ({**NO_VIEW, "view_codes": ("399348003",)}, "AP"),
        ({**NO_VIEW, "view_codes": ("R-10214",)}, "PA"),
        ({**NO_VIEW, "view_codes": ("399033003",)}, None),
        ({**NO_VIEW, **described("Thorax a.p. im Liegen")}, "AP"),
        ({**NO_VIEW, **described("CHEST FRONTAL")}, None),
        ({**NO_VIEW, **described("Chest PA", "StudyDescription")}, None),
        ({"view_position": "PA", **described("Chest AP")}, None),
        ({"view_position": "PA", "view_codes": ("399348003",)}, None),
    ],
)
def test_frontal_view(changes, view):
    assert frontal_view(dataclasses.replace(CHEST, **changes)) == view


def test_policy():
    processing = SelectionPolicy(accept_for_processing=True)
    assert decided(processing, sop_class_uid=DX_PROCESSING)[0] == "accept"
    assert decided(SelectionPolicy(require_patient_id=False), has_patient_id=False)[0] == "accept"
    assert decided(SelectionPolicy(minimum_side=1024))[0] == "hold"


@given(
    st.text(max_size=40).map(lambda s: s + "Zq7"),
    st.sampled_from(["body_part", "view_position", "modality", "presentation_intent"]),
)
def test_reasons_never_repeat_a_value_of_the_header(value, field):
    decision = decide(
        dataclasses.replace(
            CHEST,
            study_instance_uid=value,
            descriptions=(("SeriesDescription", value),),
            **{field: value},
        ),
        SelectionPolicy(),
    )
    assert "Zq7" not in decision.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Chest P.A.", {"CHEST", "PA"}),
        ("thorax a.-p., liegend", {"THORAX", "AP", "LIEGEND"}),
        ("Tórax póstero-anterior", {"TORAX", "POSTEROANTERIOR"}),
        ("[CHEST,GENERAL     ]", {"CHEST", "GENERAL"}),
        ("bilateral", {"BILATERAL"}),
        ("", set()),
    ],
)
def test_words(text, expected):
    assert words(text) == expected
