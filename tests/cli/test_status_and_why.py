"""`cxr-pacs status` and `why`: what an administrator is told of every state that a study can be in."""

from __future__ import annotations

import json
import re

import pytest
from peers import StoreScp
from written_site import STUDY, Site, why

from cxr_pacs.gateway.accession import accession_digest
from cxr_pacs.gateway.ledger import Arrival
from cxr_pacs.gateway.owed import DELIVER, postpone
from cxr_pacs.settings import load_settings


def test_a_study_that_waits_for_its_analysis(site, told):
    site.arrive("a")
    status, lines = why(told, site)
    assert status == 3
    assert lines[0] == f"Study {STUDY}"
    when, sentence = lines[1].split("  ", 1)
    assert re.fullmatch(r"2001-09-\d\d \d\d:\d\d:\d\d[+-]\d{4}", when)
    assert sentence == f"Instance {STUDY}.97 came from MODALITY; its analysis is not done yet."
    assert lines[-1] == "The analysis of 1 instance(s) is not done yet."


def test_a_study_that_waits_for_its_quiet_period(site, told):
    site.arrive("a", "accept")
    status, lines = why(told, site)
    assert (status, lines[-1]) == (3, "The report waits for the end of the study's quiet period.")


def test_a_study_of_which_nothing_was_accepted_is_done(site, told):
    site.arrive("a", "skip", reason="A lateral view.")
    status, lines = why(told, site)
    assert status == 0
    assert lines[1].endswith("skipped: A lateral view.")
    assert lines[-1] == "No report was made, since no instance was accepted."


def test_what_is_held_needs_a_person_whatever_else_is_done(site, told):
    site.report(site.arrive("a", "accept"))
    site.arrive("b", "hold", reason="Other bytes.")
    status, lines = why(told, site)
    assert (status, lines[-1]) == (3, "1 instance(s) are held and need a person.")


@pytest.mark.parametrize(
    ("state", "reason", "sentence", "conclusion", "code"),
    [
        (
            "delivered",
            None,
            "The report for pacs was taken by it at attempt 1.",
            "All 1 deliveries were taken.",
            0,
        ),
        (
            "parked",
            "0122H",
            "The report for pacs was parked after 1 attempt(s): 0122H",
            "1 of 1 deliveries are parked and need a person.",
            3,
        ),
    ],
)
def test_what_became_of_a_delivery(site, told, state, reason, sentence, conclusion, code):
    site.finish(site.owe(site.report(site.arrive("a", "accept"))), state, reason)
    status, lines = why(told, site)
    assert status == code
    assert lines[-2].endswith(sentence)
    assert lines[-1] == conclusion


def test_a_delivery_that_waits_says_why_and_until_when(site, told):
    owed = site.owe(site.report(site.arrive("a", "accept")))
    with site.ledger.begin() as connection:
        postpone(connection, DELIVER, owed, attempts=2, next_at=1_000_000_100.0, reason="no association")
    status, lines = why(told, site)
    assert status == 3
    assert lines[-2].endswith("is next tried then, after 2 failed attempt(s), the last: no association.")
    assert lines[-1] == "1 of 1 deliveries wait for their next attempt."


def test_a_study_without_the_report_that_it_should_have(site, told):
    site.arrive("a", "accept")
    with site.ledger.begin() as connection:
        site.ledger.set_problem(connection, 1, "Two patients in one study.")
    assert why(told, site)[1][-1].endswith("none of the newest images: Two patients in one study.")
    status, out, _ = told("status", "--config", site.config)
    assert status == 3
    assert "1; 1 without the report that they should have" in out


def test_a_study_is_found_by_an_instance_of_it(site, told):
    site.arrive("a", "skip")
    site.arrive("b", "skip", study=f"{STUDY}.5")
    assert why(told, site, f"{STUDY}.5.98")[1][0] == f"Study {STUDY}.5"


def test_a_study_is_found_by_an_object_that_was_made_of_it(site, told):
    site.report(site.arrive("a", "accept"))
    assert why(told, site, f"{STUDY}.9")[1][0] == f"Study {STUDY}"


def test_studies_are_found_by_their_accession_number(site, told):
    digest = accession_digest(load_settings(site.config).site.uid_namespace, "4711")
    for study, decision in ((STUDY, "skip"), (f"{STUDY}.5", "hold"), (f"{STUDY}.6", "skip")):
        with site.ledger.begin() as connection:
            arrival = Arrival(
                digest=study,
                source="MODALITY",
                received_at=1.0,
                study_instance_uid=study,
                accession_digest=None if study.endswith(".6") else digest,
                file=f"originals/{study}.dcm",
                decision=decision,
            )
            assert site.ledger.add_arrival(connection, arrival)
    status, lines = why(told, site, "4711")
    assert status == 3
    assert [line for line in lines if line.startswith("Study")] == [f"Study {STUDY}", f"Study {STUDY}.5"]
    status, out, err = told("why", "471", "--config", site.config)
    assert (status, out) == (1, "")
    assert "no study, no instance and no accession number" in err


def test_of_what_was_not_kept_the_reason_is_told(site, told):
    with site.ledger.begin() as connection:
        refused = Arrival(
            digest="r",
            source="PACS",
            received_at=1.0,
            sop_instance_uid="1.2.9",
            decision="refuse",
            reason="Our own report.",
        )
        assert site.ledger.add_arrival(connection, refused)
    status, lines = why(told, site, "1.2.9")
    assert status == 0
    assert lines[1].endswith("Instance 1.2.9 came from PACS; refused: Our own report.")
    assert lines[-1] == "It was not kept, and belongs to no study of this gateway."


def test_a_locked_or_damaged_ledger_is_told_in_one_line(site, told):
    site.ledger.engine.dispose()
    path = load_settings(site.config).spool.path / "ledger.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"?" * 4096)
    status, _, err = told("status", "--config", site.config)
    assert status == 2
    assert err.startswith("cxr-pacs: database.url: ")
    assert err.count("\n") == 1


def test_what_never_came_is_not_sent_again(site, told):
    status, _, err = told("retry", "1.2.3", "--config", site.config)
    assert status == 1
    assert "1.2.3: nothing of it was received" in err


def test_what_never_came_is_said_so(site, told):
    status, out, err = told("why", "1.2.3", "--config", site.config)
    assert (status, out) == (1, "")
    assert "1.2.3: nothing of it was received" in err


@pytest.mark.parametrize("command", [("status",), ("why", "1.2.3")])
def test_no_ledger_is_made_by_looking(tmp_path, told, command):
    config = tmp_path / "site.toml"
    config.write_text(f'[spool]\npath = "{tmp_path}"\n')
    status, _, err = told(*command, "--config", config)
    assert status == 1
    assert "there is no ledger" in err
    assert [path.name for path in tmp_path.iterdir()] == ["site.toml"]


def test_a_silent_destination_needs_a_person_and_is_named(site, told, silent_port):
    site.owe(site.report(site.arrive("a", "accept")))
    status, out, _ = told("status", "--config", site.config)
    assert status == 3
    assert f"127.0.0.1:{silent_port}" in out
    assert "0 delivered, 1 waiting, 0 parked" in out
    assert "next try 2001-09-" in out


def test_all_well_with_a_destination_that_answers(tmp_path, told):
    with StoreScp(tmp_path / "peer") as peer:
        site = Site(tmp_path, {"pacs": peer.port})
        report = site.report(site.arrive("a", "accept"))
        site.finish(site.owe(report), "delivered")
        site.finish(site.owe(report, "removed"), "delivered")
        # What was held, and then sent anew and accepted, is settled.
        for digest, decision in (("b", "hold"), ("c", "accept")):
            with site.ledger.begin() as connection:
                arrival = Arrival(
                    digest=digest,
                    source="MODALITY",
                    received_at=2.0,
                    study_instance_uid=STUDY,
                    sop_instance_uid=f"{STUDY}.77",
                    file=f"originals/{digest}.dcm",
                    decision=decision,
                )
                assert site.ledger.add_arrival(connection, arrival)
        site.ledger.engine.dispose()
        status, out, _ = told("status", "--config", site.config, "--json")
    said = json.loads(out)
    assert status == 0
    assert said["needs_a_person"] is False
    assert said["decided"]["hold"] == 0
    assert said["destinations"][1]["problem"] == "it is no longer in the settings"
    assert said["destinations"][:1] == [
        {
            "name": "pacs",
            "problem": None,
            "delivered": 1,
            "waiting": 0,
            "parked": 0,
            "oldest_waiting": None,
            "next_try": None,
            "last_reason": None,
        }
    ]


def test_what_is_dismissed_of_a_removed_destination_and_of_a_held_instance(site, told):
    site.finish(site.owe(site.report(site.arrive("a", "accept")), "old"), "parked", "old is gone")
    site.arrive("b", "hold", reason="Other bytes.")
    status, out, _ = told("dismiss", STUDY, "--config", site.config)
    assert status == 0
    assert f"parked for old: {STUDY}.9 of study {STUDY}\n    old is gone" in out
    assert f"held: {STUDY}.98 of study {STUDY}\n    Other bytes." in out
    assert out.endswith(
        "1 parked object(s), 1 held or unreported instance(s) and 0 failed commitment(s) "
        "would be dismissed with --yes\n"
    )
    assert why(told, site)[0] == 3
    assert told("dismiss", "--destination", "pacs", "--yes", "--config", site.config)[1].startswith(
        "0 parked"
    )
    assert told("dismiss", "--destination", "old", "--yes", "--config", site.config)[0] == 0
    assert why(told, site)[1][-1] == "1 instance(s) are held and need a person."
    assert told("dismiss", "--yes", "--config", site.config)[1].endswith(
        "1 held or unreported instance(s) and 0 failed commitment(s) were dismissed\n"
    )
    status, lines = why(told, site)
    assert (status, lines[-1]) == (0, "1 of 1 deliveries were dismissed, the others taken.")
    assert "skipped: Dismissed by an administrator on 2" in lines[2]
    assert lines[2].endswith("It had been held: Other bytes.")
    said = json.loads(told("status", "--config", site.config, "--json")[1])
    assert said["decided"] == {"accept": 1, "skip": 1, "hold": 0, "refuse": 0}
    assert [one["parked"] for one in said["destinations"]] == [0, 0]


def test_what_never_came_is_not_dismissed(site, told):
    status, _, err = told("dismiss", "1.2.3", "--yes", "--config", site.config)
    assert status == 1
    assert "1.2.3: nothing of it was received" in err


def test_a_destination_that_was_taken_out_of_the_settings_is_still_told(site, told):
    site.finish(
        site.owe(site.report(site.arrive("a", "accept")), "old"), "parked", "old is no longer in the settings"
    )
    _, out, _ = told("status", "--config", site.config)
    assert re.search(
        r"^old +it is no longer in the settings\n +0 delivered, 0 waiting, 1 parked$", out, re.MULTILINE
    )


def test_a_full_disk_needs_a_person(site, told):
    full = site.config.read_text().replace("[spool]", "[spool]\nhigh_watermark = 1e-9\nlow_watermark = 1e-9")
    site.config.write_text(full.split("[[destination]]")[0])
    status, out, _ = told("status", "--config", site.config)
    assert status == 3
    disk = next(line for line in out.splitlines() if line.startswith("disk"))
    assert re.fullmatch(r"disk +\d+\.\d% in use, \d+\.\d GB free; new images are refused \(A700\)", disk)
    status, out, _ = told("status", "--json", "--config", site.config)
    assert (status, json.loads(out)["disk"]["refusing"]) == (3, True)
