"""An archive in one trouble after another: each ends as it should, and `why` says how it stands."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from committing import CommittingArchive
from peers import Destination, Gateway, deliveries, eventually, send, told
from studies import new_radiograph
from swift_gateway import COMMAND

from cxr_pacs.gateway.commitment import MOST_REPEATS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OBJECTS = {"report": "Comprehensive 3D SR Storage", "heatmap": "Secondary Capture Image Storage"}
NO_SUCH_INSTANCE = 0x0112


def _all(gateway: Gateway, state: str, reason: str) -> bool:
    """Whether all deliveries are in `state`, the last attempt of each for `reason`."""
    rows = deliveries(gateway)
    return len(rows) == len(OBJECTS) and all(
        row["state"] == state and reason in str(row["reason"]) for row in rows
    )


def _why(gateway: Gateway, study: str, sentence: str, conclusion: str) -> None:
    """`why` says `sentence` of each object, and ends with `conclusion`; both are regular expressions."""
    said = told(gateway, "why", study)
    assert said.startswith("3: "), said
    for name, sop_class in OBJECTS.items():
        wanted = sentence.format(what=name, What=name.capitalize(), sop_class=re.escape(sop_class))
        assert re.search(f"  {wanted}$", said, re.MULTILINE), f"{wanted}\n{said}"
    assert re.search(f"^{conclusion}$", said.splitlines()[-1]), said


def test_an_archive_in_one_trouble_after_another(
    tmp_path: Path, make_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Gateway, "command", COMMAND)
    radiograph = new_radiograph()
    study = str(radiograph.StudyInstanceUID)
    with CommittingArchive(tmp_path / "archive", reports="new", client=("CXRPACS", 0)) as archive:
        gateway = make_gateway(
            Destination(name="pacs", ae_title=archive.ae_title, port=archive.port, commitment=True),
            commitment={"gather": 0.5, "wait": 0.0},
        )
        archive.client = (Gateway.ae_title, gateway.port)
        archive.failure = NO_SUCH_INSTANCE
        peer = rf"ARCHIVE@127\.0\.0\.1:{archive.port}"
        waits = r"The {what} for pacs is next tried then, after \d+ failed attempt\(s\), the last: "
        wait = r"2 of 2 deliveries wait for their next attempt\."

        # No room: tried again.
        archive.status = 0xA700
        gateway.start()
        assert send([radiograph], gateway.port) == [0]
        eventually(lambda: _all(gateway, "waiting", "status A700"))
        _why(gateway, study, rf"{waits}{peer} answered the C-STORE of {{sop_class}} with status A700\.", wait)

        # It does not understand them: parked with the reason, until a person has them sent again.
        archive.status = 0xC000
        eventually(lambda: _all(gateway, "parked", "status C000"))
        _why(
            gateway,
            study,
            r"The {what} for pacs was parked after \d+ attempt\(s\): "
            rf"{peer} answered the C-STORE of {{sop_class}} with status C000",
            r"2 of 2 deliveries are parked and need a person\.",
        )
        assert told(gateway, "status").startswith("3: ")
        assert archive.instances == ()

        # It drops the connection in the middle of the heatmap, and after the small report: tried again.
        archive.status, archive.drops = 0x0000, True
        assert told(gateway, "retry", study) == "0: 2 parked object(s) are sent again"
        eventually(lambda: _all(gateway, "waiting", "did not answer the C-STORE"))
        _why(gateway, study, rf"{waits}{peer} did not answer the C-STORE of {{sop_class}}\.", wait)
        assert {i.modality for i in archive.instances} <= {"SR"}

        # It says that it has them, and later that it has not: sent again, and in the end a person is needed.
        archive.drops = False
        eventually(lambda: "2 not committed" in told(gateway, "status"))
        said = "pacs answered 0112, no such object instance"
        _why(
            gateway,
            study,
            rf"Storage of the {{what}} was not committed by pacs: {said}\.",
            r"The storage of 2 object\(s\) is not committed and needs a person\.",
        )
        assert re.search("  The report for pacs was taken by it at attempt ", told(gateway, "why", study))
        (heatmap,) = (i.sop_instance_uid for i in archive.instances if i.modality == "OT")
        assert archive.receptions.count(heatmap) == 1 + MOST_REPEATS

        assert told(gateway, "dismiss", study, "--yes").endswith("2 failed commitment(s) were dismissed")
        done = told(gateway, "why", study)
        assert done.startswith("0: "), done
        for what in OBJECTS:
            dismissed = f"The missing commitment of the {what} by pacs was dismissed by an administrator. "
            assert f"{dismissed}It had failed: {said}." in done
        assert told(gateway, "status").startswith("0: ")
        assert gateway.stop() == 0, gateway.log_tail()
    assert archive.conflicts == []
    assert Counter(i.modality for i in archive.instances) == {"SR": 1, "OT": 1}
