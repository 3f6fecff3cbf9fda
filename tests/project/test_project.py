"""What the repository promises of itself: settings explained, names that resolve, readable modules."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import tomllib
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

import cxr_pacs
from cxr_pacs.settings import Settings, load_settings, parse_settings

_REPOSITORY = Path(__file__).resolve().parents[2]
_CONFIG = _REPOSITORY / "config"
_DEFAULT = _CONFIG / "default.toml"
_LONGEST_MODULE = 400
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt)/\w")


def _tracked(*patterns: str) -> list[Path]:
    """List the files under version control."""
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=_REPOSITORY, capture_output=True, text=True, check=True
    )
    return [_REPOSITORY / line for line in listed.stdout.splitlines() if (_REPOSITORY / line).is_file()]


def _modules() -> list[str]:
    """Every module of the package but ``__main__``, which runs."""
    found = pkgutil.walk_packages(cxr_pacs.__path__, "cxr_pacs.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


def _leaves(model: type[BaseModel]) -> list[tuple[str, str]]:
    """Each setting as (table, key)."""
    keys = []
    for table, field in model.model_fields.items():
        inner = field.annotation
        if typing.get_origin(inner) is tuple:
            inner = typing.get_args(inner)[0]
        for each in _models(inner):
            keys += [(table, key) for key in each.model_fields if (table, key) not in keys]
    return keys


def _models(annotation: object) -> list[type[BaseModel]]:
    """Find the models of an annotation, which may be a union of several."""
    if isinstance(annotation, type):
        assert issubclass(annotation, BaseModel)
        return [annotation]
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _models(arguments[0])
    return [found for argument in arguments for found in _models(argument)]


def _explained(text: str) -> set[tuple[str, str]]:
    """Each ``key = value``, commented out or not, as (table, key), if a comment right above explains it.

    A comment explains the key below it, and those below that one whose names it mentions.
    """
    found, table, comment, above = set(), "", "", False
    for line in text.splitlines():
        plain = line.removeprefix("# ")
        if header := re.fullmatch(r"\[+(\w+)\]+", plain):
            table, comment, above = header.group(1), "", False
        elif key := re.fullmatch(r"(\w+) = (?:[\"\[{\d]|true|false).*", plain):
            name = key.group(1)
            if above or name.replace("_", " ") in comment.lower():
                found.add((table, name))
            above = False
        elif line.startswith("# "):
            comment = f"{comment} {plain}" if above else plain
            above = True
        else:
            comment, above = "", False
    return found


@pytest.mark.parametrize(("table", "key"), _leaves(Settings), ids=".".join)
def test_a_setting_is_explained(table: str, key: str):
    assert (table, key) in _explained(_DEFAULT.read_text(encoding="utf-8"))


def test_the_default_file_holds_the_defaults():
    text = _DEFAULT.read_text(encoding="utf-8")
    assert parse_settings(text, "default.toml") == Settings()
    written = tomllib.loads(text)
    for table, key in _leaves(Settings):
        if table not in {"destination", "archive", "route", "modality", "watch", "mpps_destination"}:
            assert key in written[table]


@pytest.mark.parametrize("path", sorted(_CONFIG.glob("**/*.toml")), ids=lambda path: path.name)
def test_an_example_loads(path: Path):
    load_settings(path)


@pytest.mark.parametrize("name", _modules())
def test_public_names_resolve(name: str):
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public


@pytest.mark.parametrize("name", _modules())
def test_a_module_explains_itself_and_is_readable(name: str):
    specification = importlib.util.find_spec(name)
    assert specification is not None
    assert specification.origin is not None
    text = Path(specification.origin).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= _LONGEST_MODULE
    assert text.startswith(('"""', 'r"""'))


def test_no_path_of_a_machine():
    named = {}
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures, weights, DICOM files
        if found := _MACHINE_PATH.search(text):
            named[path.name] = found.group()
    assert named == {}


@pytest.mark.parametrize("name", ["demo", "test", "lint", "bench", "bench-worklist", "venv"])
def test_the_makefile_offers(name: str):
    dry = subprocess.run(
        ["make", "--dry-run", name], cwd=_REPOSITORY, capture_output=True, text=True, check=False
    )
    assert dry.returncode == 0, dry.stderr


def test_every_radiograph_of_the_demo_is_credited():
    credits_text = (_REPOSITORY / "demo" / "radiographs" / "CREDITS.md").read_text(encoding="utf-8")
    for path in (_REPOSITORY / "demo" / "radiographs").glob("*.dcm"):
        assert f"`{path.name}`" in credits_text
