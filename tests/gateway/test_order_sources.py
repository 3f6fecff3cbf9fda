"""Orders that come by themselves: into either database, and into ``worklist serve`` as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager

import pytest
from hl7_orders import connected, orm, sent
from peers import eventually, free_port
from worklist_items import part_10, worklist_dataset

from cxr_pacs.cli import main
from cxr_pacs.errors import ConfigurationError, SettingsError
from cxr_pacs.gateway.order_sources import OrderSources
from cxr_pacs.hl7v2 import message
from cxr_pacs.settings import Hl7Settings, Settings, parse_settings
from cxr_pacs.worklist import open_worklist
from cxr_pacs.worklist.listing import Wanted, listed


def _tables(folder, port):
    return f'[worklist]\nfolder = "{folder}"\n[hl7]\nport = {port}\n'


def test_both_sources_fill_either_database(tmp_path, on_both_databases):
    folder, port = tmp_path / "worklist", free_port()
    folder.mkdir()
    settings = parse_settings(_tables(folder, port), "site.toml")
    worklist = open_worklist(on_both_databases or f"sqlite:///{tmp_path / 'worklist.sqlite'}")
    sources = OrderSources(settings, worklist)
    sources.start()
    try:
        (folder / "file.wl").write_bytes(part_10(worklist_dataset("F1")))
        with connected(port) as connection:
            for number, control in enumerate(["NW", "NW", "XO", "CA"]):
                told = sent(connection, orm(str(number % 3), control=control, name=f"Doe^N{number}"))
                # The last one has the control ID of the first, and another content.
                assert told["MSA"][1] == "AA"

        def stored():
            with worklist.begin() as connection:
                return {
                    one.item.text("AccessionNumber"): (one.state, one.origin)
                    for one in listed(connection, Wanted())
                }

        wanted = {"A1": ("CANCELLED", "hl7"), "F1": ("SCHEDULED", "file:file.wl")}
        eventually(lambda: stored() == wanted, timeout=20)
        (folder / "file.wl").unlink()
        eventually(lambda: stored()["F1"][0] == "CANCELLED", timeout=20)
    finally:
        sources.stop()
        worklist.engine.dispose()


@contextmanager
def _serving(config):
    command = [sys.executable, "-m", "cxr_pacs", "worklist", "serve", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            assert serving.stdout.readline().startswith("ready")
            yield serving
        finally:
            serving.terminate()
            _, log = serving.communicate(timeout=60)
    assert "Doe" not in log


def test_worklist_serve_keeps_what_it_answered_though_it_is_killed(tmp_path, capsys):
    folder, port = tmp_path / "worklist", free_port()
    folder.mkdir()
    config = tmp_path / "site.toml"
    config.write_text(
        f'[dicom]\nport = {free_port()}\n[spool]\npath = "{tmp_path / "spool"}"\n{_tables(folder, port)}'
    )

    def accessions():
        capsys.readouterr()
        assert main(["worklist", "list", "--json", "--config", str(config)]) == 0
        return {one["dataset"]["00080050"]["Value"][0] for one in json.loads(capsys.readouterr().out)}

    (folder / "file.wl").write_bytes(part_10(worklist_dataset("F1")))
    with _serving(config) as serving, connected(port) as connection:
        eventually(lambda: accessions() == {"F1"}, timeout=30)
        assert sent(connection, orm("1"))["MSA"][1] == "AA"
        serving.kill()
    assert accessions() == {"A1", "F1"}
    with _serving(config) as serving, connected(port) as connection:
        # The sender that lost the connection sends again what it sent.
        assert sent(connection, orm("1"))["MSA"][1] == "AA"
        assert accessions() == {"A1", "F1"}
    assert serving.returncode == 0


def test_the_gateway_takes_orders_beside_images(make_settings, serving):
    port = free_port()
    settings = make_settings().model_copy(update={"hl7": Hl7Settings(port=port)})
    with serving(settings), connected(port) as connection:
        assert sent(connection, orm("1"))["MSA"][1] == "AA"
    worklist = open_worklist(settings.database_url)
    with worklist.begin() as connection:
        assert [one.item.step_id for one in listed(connection, Wanted())] == ["S1"]
    worklist.engine.dispose()


def test_without_the_package_the_setting_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "hl7", None)
    worklist = open_worklist("sqlite://")
    settings = parse_settings(f"[hl7]\nport = {free_port()}\n", "site.toml")
    with pytest.raises(ConfigurationError, match=r"hl7.port: .*pip install 'cxr-pacs\[hl7\]'"):
        OrderSources(settings, worklist).start()
    worklist.engine.dispose()
    assert message.Header.of(b"") == message.Header()


def test_a_port_that_is_taken_is_named(tmp_path):
    worklist = open_worklist("sqlite://")
    port = free_port()
    settings = Settings.model_validate({"hl7": {"port": port}})
    first, second = OrderSources(settings, worklist), OrderSources(settings, worklist)
    first.start()
    try:
        with pytest.raises(ConfigurationError, match=f"hl7.port: cannot listen on 127.0.0.1:{port}"):
            second.start()
    finally:
        first.stop()
        worklist.engine.dispose()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('character_set = "UNICODE UTF-16"', "hl7.character_set: .*table 0211"),
        ('new = ["NW", "CA"]', "means one thing only: CA"),
        ('fields = { AccessionNumbr = ["OBR-18"] }', "no attribute AccessionNumbr"),
        ('fields = { AccessionNumber = ["OBR18"] }', "SEGMENT-FIELD"),
        ('status_states = { IP = "RUNNING" }', "hl7.status_states.IP"),
        ('station_of = { DX = "A TITLE TOO LONG FOR AE" }', "hl7.station_of.DX"),
    ],
)
def test_a_wrong_setting_is_named(text, said):
    with pytest.raises(SettingsError, match=said):
        parse_settings(f"[hl7]\n{text}\n", "site.toml")
