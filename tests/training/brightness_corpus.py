"""A corpus whose class is its brightness, to be written where a test wants it."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

COLUMNS = ["file", "patient_id", "label", "view", "age", "sex", "source", "licence", "split", "cohort"]
LABELS = ("covid19", "bacterial_pneumonia", "normal")


def write_manifest(folder: Path, rows: list[dict[str, str]], columns: list[str] = COLUMNS) -> None:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_corpus(folder: Path) -> Path:
    """Films whose class is their brightness, of several shapes; patients have two films each."""
    rng = np.random.default_rng(7)
    rows = []
    for number in range(72):
        label = LABELS[number % 3]
        split = ("train", "train", "val", "test")[number // 6 % 4]
        shape = rng.integers(50, 90, size=2)
        film = rng.normal((40, 120, 210)[number % 3], 10, shape).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), film)
        source, cohort = (("here", "adult"), ("there", "paediatric"))[number // 3 % 2]
        rows.append(
            {
                "file": f"{number}.png",
                "patient_id": f"{label}-{number // 6}",
                "label": label,
                "view": "PA" if source == "here" else "AP",
                "age": str(30 + number) if source == "here" else "",
                "sex": "F",
                "source": source,
                "licence": "CC-BY-NC-4.0" if source == "here" else "CC-BY-4.0",
                "split": split,
                "cohort": cohort,
            }
        )
    write_manifest(folder, rows)
    return folder
