"""``cxr-train import``: a bundle of DeepCOVID-XR's ResNet50."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.imported import HEAD, LABELS, Release, import_bundle

__all__ = ["add"]

_EPILOG = f"""\
Without claims the gateway withholds every score of the bundle, with the reason. --claims names a TOML file of
what the site itself has shown on films of its own, one table for each class and group of patients:

  [[claims]]
  head = "{HEAD}"
  label = "{LABELS[0]}"              # or "{LABELS[1]}"
  age_low = 18                   # years, closed interval
  age_high = 120
  views = ["PA", "AP"]
  films = "which films, of whom, when"
  positives = 212                # films of the class, at least 30
  others = 518                   # other films, at least 30
  figure = "AUROC"
  value = 0.90                   # and its 95 % interval
  low = 0.87
  high = 0.93
  baseline = "what trivial thing was the best, e.g. logistic regression on an 8x8 thumbnail"
  baseline_value = 0.71
  gain_low = 0.14                # lower end of the 95 % interval of the gain over it, paired by patient
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "import",
        help="make a bundle of DeepCOVID-XR's ResNet50 (.h5)",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE.h5", help="whole model or weights alone")
    parser.add_argument("--out", type=Path, required=True, help="new folder of the bundle")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True, help="three numbers, e.g. 1.0.0")
    parser.add_argument("--manufacturer", default="DeepCOVID-XR, imported with cxr-pacs")
    parser.add_argument("--licence", default="As the makers of the file say", help="of the weights")
    parser.add_argument("--threshold", type=float, default=0.5, help="least positive score (default: 0.5)")
    parser.add_argument("--size", type=int, help="side of the input, where the file does not say")
    parser.add_argument("--claims", type=Path, metavar="FILE.toml", help="what the site has shown; see below")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    release = Release(
        name=options.name,
        version=options.version,
        manufacturer=options.manufacturer,
        licence=options.licence,
        threshold=options.threshold,
        size=options.size,
        evidence=options.claims,
    )
    bundle = import_bundle(options.file, release, options.out)
    manifest = bundle.manifest
    print(f"{options.out}: {manifest.name} {manifest.version}, {manifest.preprocessing.identifier}")
    print(f"SHA-256 {bundle.identity.digest}")
    if not manifest.claims:
        print(
            "cxr-train: nothing is claimed, so the gateway will withhold every score of this bundle; "
            "show what it can on films of your own and import again with --claims (see --help)",
            file=sys.stderr,
        )
