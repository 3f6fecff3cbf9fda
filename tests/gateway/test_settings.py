from __future__ import annotations

import pytest

from cxr_pacs.errors import SettingsError
from cxr_pacs.settings import Settings, load_settings, parse_settings


def test_empty_file_means_the_defaults():
    assert parse_settings("", "x.toml") == Settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[dicom]\nprot = 1", "dicom.prot: unknown key; did you mean 'port'?"),
        ("[dicm]\nport = 1", "dicm: unknown key; did you mean 'dicom'?"),
        ('[dicom]\nport = "11112"', "dicom.port: "),
        ("[dicom]\nport = 70000", "dicom.port: "),
        ('[dicom]\nae_title = "SEVENTEEN_LETTERS"', "dicom.ae_title: "),
        ('[dicom]\nae_title = "A\\\\B"', "dicom.ae_title: "),
        ("[dicom]\naccept_for_processing = 1", "dicom.accept_for_processing: "),
        ('[engine]\ndevice = "gpu"', "engine.device: "),
        ("[study]\nquiet_period = -1", "study.quiet_period: "),
        ('[site]\nuid_namespace = "mine"', "site.uid_namespace: "),
        ('[[destination]]\nname = "pacs"\nae_title = "P"\nhost = "h"', "destination.0.port: "),
        ('[[destination]]\nnam = "pacs"', "destination.0.nam: unknown key; did you mean 'name'?"),
        ('[[destination]]\nname = "p"\nurll = "https://h"', "0.urll: unknown key; did you mean 'url'?"),
        ('[[destination]]\nname = "p"\nfolder = "/f"\nport = 104', "these keys are of several kinds"),
        ('[[destination]]\nname = "p"\nurl = "ftp://h"', "destination.0.url: "),
        ('[[destination]]\nname = "p"\nurl = "http://h/x?y=1"', "destination.0.url: "),
        ('[[destination]]\nname = "p"\nurl = "https://h"\nfolder = "/f"', "several kinds"),
        ("[dicom", "not valid TOML"),
    ],
)
def test_a_wrong_key_is_named(text, expected):
    with pytest.raises(SettingsError, match=r"x\.toml") as caught:
        parse_settings(text, "x.toml")
    assert expected in str(caught.value)


@pytest.mark.parametrize("more", ["", "port = 104", "credentials = 1", "colour = 1"])
def test_a_password_in_an_address_is_refused_and_not_quoted(more):
    text = f'[[destination]]\nname = "p"\nurl = "https://ann:secret@h/dicom-web"\n{more}'
    with pytest.raises(SettingsError, match=r"destination\.0") as caught:
        parse_settings(text, "x.toml")
    assert "secret" not in str(caught.value)


def test_a_destination_is_of_one_of_three_kinds():
    name = '[[destination]]\nname = "p"\n'
    assert parse_settings(name + 'folder = "/f"', "x").destination[0].where == "files in /f"
    web = parse_settings(name + 'url = "https://h:8443/dicom-web/"\ncredentials = "/c"', "x").destination[0]
    assert web.where == "STOW-RS to https://h:8443/dicom-web"


def test_two_destinations_of_one_name_are_refused():
    one = '[[destination]]\nname = "pacs"\nae_title = "P"\nhost = "h"\nport = 104\n'
    with pytest.raises(SettingsError, match="used twice: pacs"):
        parse_settings(one + one, "x.toml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.toml"):
        load_settings(tmp_path / "absent.toml")


def test_the_ledger_lies_in_the_spool_unless_told_otherwise():
    assert parse_settings('[spool]\npath = "/s"', "x").database_url == "sqlite:////s/ledger.sqlite"
    assert parse_settings('[database]\nurl = "sqlite:///x"', "x").database_url == "sqlite:///x"


def test_only_what_changes_an_output_changes_the_output_digest():
    plain = Settings().output_digest()
    assert parse_settings("[dicom]\nport = 104", "x").output_digest() == plain
    assert parse_settings("[dicom]\naccept_for_processing = true", "x").output_digest() != plain
