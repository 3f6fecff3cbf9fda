"""Whatever a peer sends gets a proper status and one sentence in the ledger; the next instance goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from peers import Request, associated, c_store, eventually, instances, of_modality, request, send
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from studies import ONE_OF_EACH, new_radiograph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from conftest import Site
    from peers import Gateway

# Our own side warns of them too; they are the point.
_WRONG_UIDS = pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")

# One line whose full stops all end nothing: none is followed by a space.
_ONE_SENTENCE = re.compile(r"\S(?:(?![.!?]\s).)*\S")

_STORED = 0x0000
_DATA_SET_DOES_NOT_MATCH = 0xA900
_CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """What is sent, and what must become of it."""

    make: Callable[[], Request]
    status: int
    decision: str
    reason: str


def _tagged(**tags: Any) -> Callable[[], Request]:
    return lambda: request(new_radiograph(**tags))


def _altered(element: bytes, replacement: bytes, **tags: Any) -> Callable[[], Request]:
    """A radiograph with the value `element` replaced on the wire by another of the same length."""

    def make() -> Request:
        honest = request(new_radiograph(**({"PatientName": "MARKED^NAME"} | tags)))
        assert honest.data_set.count(element) == 1
        assert len(element) == len(replacement)
        return dataclasses.replace(honest, data_set=honest.data_set.replace(element, replacement))

    return make


def _truncated(keep: float) -> Callable[[], Request]:
    def make() -> Request:
        honest = request(new_radiograph())
        return dataclasses.replace(honest, data_set=honest.data_set[: int(len(honest.data_set) * keep)])

    return make


def _with_uid(keyword: str, uid: str) -> Callable[[], Request]:
    def make() -> Request:
        dataset = new_radiograph()
        honest = request(dataset)
        old = str(dataset[keyword].value).encode()
        new = uid.encode().ljust(len(old), b"\0")
        made = dataclasses.replace(honest, data_set=honest.data_set.replace(old, new))
        return dataclasses.replace(made, sop_instance_uid=uid) if keyword == "SOPInstanceUID" else made

    return make


def _not_a_data_set() -> Request:
    honest = request(new_radiograph())
    return dataclasses.replace(honest, data_set=b"GIF89a, and no data set at all. " * 40)


def _another_instance() -> Request:
    return dataclasses.replace(request(new_radiograph()), sop_instance_uid="2.25.1")


_BAD = {
    "not a data set": Bad(
        make=_not_a_data_set, status=_DATA_SET_DOES_NOT_MATCH, decision="refuse", reason="missing"
    ),
    "cut off in the header": Bad(
        make=_truncated(0.001), status=_DATA_SET_DOES_NOT_MATCH, decision="refuse", reason="missing"
    ),
    "cut off in the pixels": Bad(make=_truncated(0.7), status=_STORED, decision="hold", reason="Pixel Data"),
    "no pixel data": Bad(
        make=_tagged(PixelData=None), status=_STORED, decision="hold", reason="no pixel data"
    ),
    "a lateral view": Bad(
        make=_tagged(ViewPosition="LL", PatientOrientation=None),
        status=_STORED,
        decision="skip",
        reason="lateral",
    ),
    "a hand": Bad(
        make=_tagged(BodyPartExamined="HAND", StudyDescription="Hand"),
        status=_STORED,
        decision="skip",
        reason="not the chest",
    ),
    "a CT slice under the wrong class": Bad(
        make=_tagged(Modality="CT"), status=_STORED, decision="skip", reason="Modality"
    ),
    "no rows": Bad(make=_tagged(Rows=0), status=_STORED, decision="hold", reason="0 x"),
    "more bits stored than allocated": Bad(
        make=_tagged(BitsStored=20), status=_STORED, decision="hold", reason="Bits Stored"
    ),
    "an empty patient ID": Bad(
        make=_tagged(PatientID=""), status=_STORED, decision="hold", reason="Patient ID is empty"
    ),
    "no study instance UID": Bad(
        make=_tagged(StudyInstanceUID=None),
        status=_DATA_SET_DOES_NOT_MATCH,
        decision="refuse",
        reason="StudyInstanceUID is missing",
    ),
    "a study UID that climbs": Bad(
        make=_with_uid("StudyInstanceUID", "1.2.3/../../../etc"),
        status=_DATA_SET_DOES_NOT_MATCH,
        decision="refuse",
        reason="StudyInstanceUID is not a valid UID",
    ),
    "an instance UID that climbs": Bad(
        make=_with_uid("SOPInstanceUID", "../../../tmp/1"),
        status=_DATA_SET_DOES_NOT_MATCH,
        decision="refuse",
        reason="SOPInstanceUID is not a valid UID",
    ),
    "another instance than announced": Bad(
        make=_another_instance, status=_DATA_SET_DOES_NOT_MATCH, decision="refuse", reason="differ"
    ),
    "text that its character set does not decode": Bad(
        make=_altered(b"MARKED^NAME", b"M\xff\xfe\xfdED^NA\xc3\xc3"),
        status=_STORED,
        decision="hold",
        reason="haracter",
    ),
    "text in an unknown character set": Bad(
        make=_altered(b"ISO_IR 192", b"ISO_IR 999", PatientName="Jäger^Märta"),
        status=_STORED,
        decision="hold",
        reason="haracter",
    ),
}


@_WRONG_UIDS
@pytest.mark.parametrize("bad", _BAD.values(), ids=_BAD.keys())
def test_one_sentence_and_the_next_instance_goes_on(site: Site, bad: Bad):
    sent = bad.make()
    good = new_radiograph()
    following = request(good)

    with associated(
        site.gateway.port, [(r.sop_class_uid, r.transfer_syntax_uid) for r in (sent, following)]
    ) as association:
        assert c_store(association, sent) == bad.status
        assert c_store(association, following) == _STORED

    row = eventually(lambda: _decided(site, sent))
    assert row["decision"] == bad.decision
    assert bad.reason in row["reason"]
    assert _ONE_SENTENCE.fullmatch(row["reason"]), row["reason"]
    assert "MARKED" not in row["reason"]
    assert "Jäger" not in row["reason"]
    study = good.StudyInstanceUID
    held = site.archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)
    assert of_modality(held, study) == ONE_OF_EACH


def _decided(site: Site, sent: Request) -> dict[str, Any] | None:
    kept = hashlib.sha256(sent.data_set).hexdigest()
    # a refused request is known by its data set and what was announced with it
    announced = f"refuse|{kept}|{sent.sop_class_uid}|{sent.sop_instance_uid}"
    digests = {kept, hashlib.sha256(announced.encode()).hexdigest()}
    rows = [row for row in instances(site.gateway) if row["digest"] in digests and row["decision"]]
    return rows[0] if rows else None


def _statuses(gateway: Gateway, requests: Sequence[Request]) -> list[int | None]:
    contexts = [(wanted.sop_class_uid, wanted.transfer_syntax_uid) for wanted in requests]
    with associated(gateway.port, contexts) as association:
        return [c_store(association, wanted) for wanted in requests]


def _tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@_WRONG_UIDS
def test_uids_that_climb_write_nothing_anywhere(tmp_path: Path, make_gateway: Callable[..., Gateway]):
    # from spool/results/ab, four steps up is this test's own folder
    climbing = [
        _with_uid(keyword, f"{'../' * steps}{name}")()
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
        for steps in range(1, 5)
        for name in ("1.2.3", "results/1.2.3")
    ]
    good = request(new_radiograph())
    with make_gateway() as gateway:
        before = _tree(tmp_path)
        statuses = _statuses(gateway, climbing)
        assert _tree(tmp_path) == before
        assert set(statuses) == {_DATA_SET_DOES_NOT_MATCH}

        assert _statuses(gateway, [good]) == [_STORED]
        written = _tree(tmp_path) - before
        assert f"{hashlib.sha256(good.data_set).hexdigest()}.dcm" in {path.name for path in written}
        spool = gateway.settings.folder / "spool"
        assert all(path.is_relative_to(spool) for path in written)
        assert gateway.stop() == 0, gateway.log_tail()


def test_a_ct_is_not_negotiated_and_the_ledger_says_so(site: Site):
    good = new_radiograph()
    wanted = request(good)
    contexts = [(str(CTImageStorage), str(ExplicitVRLittleEndian))]
    contexts.append((wanted.sop_class_uid, wanted.transfer_syntax_uid))
    with associated(site.gateway.port, contexts) as association:
        assert [c.abstract_syntax for c in association.rejected_contexts] == [CTImageStorage]
        assert c_store(association, wanted) == _STORED
    row = eventually(
        lambda: next((r for r in instances(site.gateway) if r["sop_class_uid"] == CTImageStorage), None)
    )
    assert (row["decision"], row["rung"]) == ("refuse", "presentation-context")
    assert "CT Image Storage" in row["reason"]


def test_a_peer_that_hangs_up_in_the_middle_harms_nobody(site: Site):
    wanted = request(new_radiograph())
    with associated(site.gateway.port, [(wanted.sop_class_uid, wanted.transfer_syntax_uid)]) as association:
        association.abort()
    good = new_radiograph()
    assert send([good], site.gateway.port) == [_STORED]
    study = good.StudyInstanceUID
    site.archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)


def _revealing() -> Iterator[Request]:
    """Radiographs with the marker in what identifies a patient, as text that is wrong for its element."""
    marked = {"PatientName": "SECRET^NAME", "PatientID": "SECRET-ID"}
    yield request(new_radiograph(**marked, Rows=0))
    yield _altered(b"SECRET^NAME", b"SECRET^\xff\xfe\xfd\xfc", **marked)()
    yield _altered(b"SECRET-ID2", b"SECRET\xff\xfe\xfd\xfc", PatientID="SECRET-ID2")()
    yield _altered(b"SECRET-ACC", b"SECRET\xff\xfe\xfd\xfc", AccessionNumber="SECRET-ACC")()
    yield _altered(b"ISO_IR 192", b"SECRET 192", **marked | {"PatientName": "SECRET^Jäger"})()
    yield _altered(b"19010203", b"SECRETDA", **marked, PatientBirthDate="19010203")()
    yield _altered(b"0.123456", b"SECRETDS", **marked, RescaleIntercept="0.123456")()
    yield _altered(b"12345678", b"SECRETIS", **marked, InstanceNumber="12345678")()
    yield _with_uid("StudyInstanceUID", "1.2.SECRET")()


@_WRONG_UIDS
def test_no_patient_identity_in_log_or_ledger(site: Site):
    good = new_radiograph(
        PatientName="SECRET^NAME",
        PatientID="SECRET-ID",
        AccessionNumber="SECRET-ACC",
        PatientBirthDate="19010203",
    )
    sent = [*_revealing(), request(good)]
    assert all(b"SECRET" in wanted.data_set for wanted in sent)
    statuses = _statuses(site.gateway, sent)
    assert None not in statuses
    for wanted in sent:
        eventually(lambda wanted=wanted: _decided(site, wanted))
    study = good.StudyInstanceUID
    site.archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)

    ledger = site.gateway.settings.folder / "spool" / "ledger.sqlite"
    kept = [ledger, ledger.with_name("ledger.sqlite-wal"), site.gateway.log]
    said = {path.name: path.read_bytes() for path in kept}
    assert any(study.encode() in content for content in said.values())
    for name, content in said.items():
        for secret in (b"SECRET", b"19010203"):
            at = content.find(secret)
            assert at < 0, (name, content[max(at - 200, 0) : at + 100])
