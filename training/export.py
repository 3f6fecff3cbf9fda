"""From fitted weights to a bundle: calibration, operating points, honest figures, manifest."""

from __future__ import annotations

import hashlib
import re
import tempfile
import uuid
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from cxr_pacs.inference import load_engine
from cxr_pacs.inference.bundle import MANIFEST, load_bundle, pack_weights
from cxr_pacs.inference.efficientnet import EfficientNetLite0
from cxr_pacs.inference.ensemble import Ensemble
from cxr_pacs.inference.manifest import (
    Code,
    Head,
    Label,
    LungsFile,
    Manifest,
    Network,
    Preprocessing,
    Source,
    Training,
    WeightsFile,
)
from training.baselines import fit_baselines
from training.calibrate import Calibration, OperatingPoint, calibrate_table, recalibrated
from training.card import card
from training.claims import claims, verdicts
from training.corpus import CorpusError
from training.evaluation import evaluate, metrics, pool
from training.explain import explain
from training.explain_metrics import explanation_metrics
from training.map_likeness import stated
from training.reader import Reader
from training.recipe import HEADS
from training.scoring import score
from training.toml import to_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cxr_pacs.inference.architecture import LungNetwork
    from cxr_pacs.inference.bundle import Bundle
    from cxr_pacs.inference.ensemble import ServedArchitecture
    from training.corpus import Film
    from training.evaluation import ScoreTable

    Weights = Mapping[str, NDArray[np.floating[Any]]]

__all__ = ["Fitted", "Lungs", "Release", "export"]

_FILL = "smooth"  # the other, mid-grey, is what a model of lung fields is shown anyway
_NAMESPACE = uuid.UUID("662f1a4c-5f0e-4a56-9d59-2f3c1a7b5d10")
_FOLD = re.compile(r"(?P<manifest>\w+) fold (?P<fold>\d+)/(?P<of>\d+), seed (?P<seed>\d+)")
_WEIGHTS, _LUNGS, _CARD = "weights.npz", "lungs.npz", "MODEL_CARD.md"
_CODES = {
    "covid19": Code(value="840539006", scheme="SCT", meaning="COVID-19"),
    "bacterial_pneumonia": Code(value="53084003", scheme="SCT", meaning="Bacterial pneumonia"),
    "normal": Code(value="17621005", scheme="SCT", meaning="Normal"),
}
_CITATIONS = {
    "cohen-covid-chestxray": "Cohen, Morrison, Dao, COVID-19 image data collection, arXiv:2003.11597",
    "hannover-covid19-image-repository": (
        "Winther et al., COVID-19 Image Repository, Hannover Medical School, doi:10.6084/m9.figshare.12275009"
    ),
    "nih-chestxray14": (
        "NIH Clinical Center; Wang et al., ChestX-ray8, CVPR 2017, https://nihcc.app.box.com/v/ChestXray-NIHCC"
    ),
    "kermany-paediatric": "Kermany, Zhang, Goldbaum, doi:10.17632/rscbjbr9sj.2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a person decides about a bundle: name, version and maker, and what must be said of it.

    Attributes
    ----------
    name, version, manufacturer, intended_use, licence : str
    limitations : tuple of str
    procedure : str
        How the weights were made.
    seed : int or None
        Of the fit; None where there were several, whose seeds `procedure` names.
    held_out : str or None
        Which films it was not fitted to, as `training.judged.choose` describes them where it is a fold.
    """

    name: str
    version: str
    manufacturer: str
    intended_use: str
    licence: str
    limitations: tuple[str, ...]
    procedure: str
    seed: int | None
    held_out: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lungs:
    """A fitted lung network: its layout and weights."""

    layout: LungNetwork
    weights: Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Weights, the architecture that they fit, and what they were fitted to see.

    Attributes
    ----------
    architecture : Architecture, EfficientNetLite0 or Ensemble
    weights : mapping of str to float ndarray
    size : int
        Side of the input square, pixels.
    mean, deviation : tuple of 3 float
        Of the P-values.
    lungs : Lungs or None
        What finds the lung fields to which films were cropped; None where it was fitted on whole films.
    """

    architecture: ServedArchitecture
    weights: Weights
    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    deviation: tuple[float, ...] = (0.25, 0.25, 0.25)
    lungs: Lungs | None = None


def export(
    fitted: Fitted,
    parts: Mapping[str, Sequence[Film]],
    release: Release,
    out: Path,
    crossval: ScoreTable | None = None,
) -> Bundle:
    """
    Write the bundle into the folder `out` and read it back.

    Every score comes from the engine that serves, with the float16 weights. Temperatures and thresholds are
    chosen on ``parts["val"]``; figures are those of ``parts["test"]``, beside trivial baselines fitted on
    ``parts["train"]``. Claims are decided on val and test together: no weight was chosen on val, and an AUROC
    does not depend on thresholds. Where out-of-fold scores of a cross-validation, baselines among them, are
    given as `crossval`, their figures stand beside, and the claims are theirs: they speak of several times
    as many films. It must go by the same recipe, or a limitation say what was shorter.

    Raises
    ------
    CorpusError
        The release cannot be stated in a manifest; `crossval` is of other heads, or not every fold of one.
    EngineError, BundleError
        There is no usable backend; the weights do not fit the architecture.
    """
    if crossval is not None:
        _check_crossval(crossval)
    files = {_WEIGHTS: pack_weights(_centred(fitted))}
    if fitted.lungs is not None:
        files[_LUNGS] = pack_weights(fitted.lungs.weights)
    try:
        draft = _draft(fitted, parts["train"], release, files)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise CorpusError(f"a bundle cannot state this {where}: {problem['msg']}") from error
    with tempfile.TemporaryDirectory() as folder:
        bundle = _write(Path(folder), draft, files)
    engine = load_engine(bundle, "auto")
    val, test = (score(bundle, parts[name], engine=engine) for name in ("val", "test"))
    chosen = calibrate_table(val)
    held_out = (*parts["val"], *parts["test"])
    labels = {head.head: head.labels for head in test.heads}
    evaluation, decided = (
        evaluate(recalibrated(table, chosen).with_baselines(fit_baselines(parts["train"], films, labels)))
        for table, films in ((test, parts["test"]), (pool([val, test]), held_out))
    )
    figures = metrics(evaluation, "test")
    folded = (release.held_out or "").startswith("fold ")
    films = f"val and test of {release.held_out}" if folded else "splits val and test"
    if crossval is not None:
        decided, films = evaluate(crossval), "cross-validation by patient, out of fold"
        figures += metrics(decided, "cross-validation")
    maps = None
    if fitted.lungs is not None:
        read = explain(Reader(engine=engine, segmenter=engine), parts["test"], _FILL)
        figures += explanation_metrics(read, "test")
        maps = stated(read.alike, "test")
    manifest = draft.model_copy(
        update={
            "heads": tuple(_head(head.head, head.labels, chosen[head.head]) for head in test.heads),
            "metrics": figures,
            "maps": maps,
            "claims": claims(decided, films),
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    # A bundle is there whole or not at all.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        made = Path(folder, out.name)
        made.mkdir()
        (made / _CARD).write_text(card(manifest, tuple(verdicts(decided, films))), encoding="utf-8")
        _write(made, manifest, files)
        made.rename(out)
    return load_bundle(out)


def _network(architecture: ServedArchitecture) -> Network:
    members = architecture.members if isinstance(architecture, Ensemble) else None
    each = architecture.of if isinstance(architecture, Ensemble) else architecture
    if isinstance(each, EfficientNetLite0):
        return Network(layout="efficientnet-lite0", members=members)
    return Network(layout="resnet-v1", stages=each.stages, width=each.width, members=members)


def _check_crossval(crossval: ScoreTable) -> None:
    if {head.head: head.labels for head in crossval.heads} != HEADS:
        raise CorpusError("the scores of the cross-validation are of other heads or classes")
    judged = {_FOLD.fullmatch(films) for films in crossval.manifests}
    whole = {(str(n), str(len(judged))) for n in range(1, len(judged) + 1)}
    alike = {found.group("manifest", "seed") for found in judged if found}
    if len(alike) != 1 or {found and found.group("fold", "of") for found in judged} != whole:
        raise CorpusError(
            "the scores are not those of every fold of one cross-validation, but of: "
            + "; ".join(sorted(crossval.manifests))
        )


def _centred(fitted: Fitted) -> dict[str, NDArray[np.float32]]:
    """
    Take from each head what all its classes have alike; scores stay, as a softmax sees differences alone.

    A class activation map then shows what argues for a class more than for the others. Without this a class
    may lead with no cell in its favour, because its rivals have still less.
    """
    weights = {name: array.astype(np.float32) for name, array in fitted.weights.items()}
    for head, _ in fitted.architecture.heads:
        for name in (f"{head}/kernel", f"{head}/bias"):
            weights[name] = weights[name] - weights[name].mean(axis=-1, keepdims=True)
    return weights


def _write(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle, and read it back whole and checked."""
    for name, packed in files.items():
        (folder / name).write_bytes(packed)
    (folder / MANIFEST).write_text(to_toml(manifest.model_dump(mode="json")), encoding="utf-8")
    return load_bundle(folder)


def _draft(fitted: Fitted, train: Sequence[Film], release: Release, files: Mapping[str, bytes]) -> Manifest:
    """Write the manifest as far as it is known before the first film is scored."""
    digests = {name: hashlib.sha256(packed).hexdigest() for name, packed in files.items()}
    kind, lungs = "squash-area", None
    if fitted.lungs is not None:
        layout = fitted.lungs.layout
        kind = "lung-fields-area"
        lungs = LungsFile(file=_LUNGS, sha256=digests[_LUNGS], size=layout.size, widths=layout.widths)
    plain = {
        head: Calibration(
            temperature=1.0, points=(OperatingPoint(threshold=0.5, chosen="not yet"),) * len(labels)
        )
        for head, labels in HEADS.items()
    }
    return Manifest(
        name=release.name,
        version=release.version,
        manufacturer=release.manufacturer,
        device_uid=f"2.25.{uuid.uuid5(_NAMESPACE, f'{release.name} {release.version} {digests}').int}",
        intended_use=release.intended_use,
        licence=release.licence,
        limitations=release.limitations,
        network=_network(fitted.architecture),
        preprocessing=Preprocessing(
            identifier=f"{kind}-{fitted.size}", mean=fitted.mean, deviation=fitted.deviation
        ),
        weights=WeightsFile(file=_WEIGHTS, sha256=digests[_WEIGHTS]),
        lungs=lungs,
        heads=tuple(_head(head, labels, plain[head]) for head, labels in HEADS.items()),
        training=Training(
            procedure=release.procedure,
            seed=release.seed,
            held_out=release.held_out,
            sources=tuple(_sources(train)),
        ),
    )


def _head(head: str, labels: Sequence[str], calibration: Calibration) -> Head:
    return Head(
        name=head,
        temperature=calibration.temperature,
        labels=tuple(
            Label(name=label, code=_CODES[label], threshold=point.threshold, chosen=point.chosen)
            for label, point in zip(labels, calibration.points, strict=True)
        ),
    )


def _sources(films: Iterable[Film]) -> Iterable[Source]:
    """Name each collection of the training films once."""
    by_source = defaultdict(list)
    for film in films:
        by_source[film.source].append(film)
    for name, members in sorted(by_source.items()):
        yield Source(
            name=name,
            citation=_CITATIONS.get(name, name),
            licences=tuple(sorted({film.licence for film in members})),
            images=len(members),
            patients=len({film.patient for film in members}),
        )
