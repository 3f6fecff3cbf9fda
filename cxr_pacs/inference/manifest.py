"""What ``bundle.toml`` may say: the fields, their types and their limits."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_pacs.inference.architecture import AnyArchitecture, Architecture, LungNetwork
from cxr_pacs.inference.efficientnet import EfficientNetLite0
from cxr_pacs.inference.ensemble import Ensemble, ServedArchitecture
from cxr_pacs.inference.findings import ClassCode

__all__ = [
    "MOST_ALIKE",
    "Claim",
    "Code",
    "Head",
    "Label",
    "LungsFile",
    "Manifest",
    "Maps",
    "Metric",
    "Network",
    "Preprocessing",
    "Source",
    "Training",
    "WeightsFile",
]

Text = Annotated[str, Field(min_length=1)]
# DICOM's LO value representation: 64 characters, no backslash (PS3.5 table 6.2-1).
LongString = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\\\x00-\x1f]+$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)]
Uid = Annotated[str, Field(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$", max_length=64)]
Share = Annotated[float, Field(ge=0, le=1)]
Correlation = Annotated[float, Field(ge=-1, le=1)]
Channels = Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]

MOST_ALIKE: Final = 0.7
"""Correlation of two films' maps up to which they say where a finding lies."""


class _Part(BaseModel):
    """A table of the manifest: unknown keys are errors, values cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Code(_Part):
    """A coded concept, e.g. SNOMED CT's (840539006, SCT, "COVID-19")."""

    value: Annotated[str, Field(min_length=1, max_length=16)]
    scheme: Annotated[str, Field(min_length=1, max_length=16)]
    meaning: LongString


class Label(_Part):
    """One class of a head: its name, its code, its operating point and how that was chosen."""

    name: Name
    code: Code
    threshold: Annotated[float, Field(gt=0, lt=1)]
    chosen: Text


class Head(_Part):
    """One question that the model answers; its scores are a softmax of logits divided by `temperature`."""

    name: Name
    temperature: Annotated[float, Field(gt=0)]
    labels: Annotated[tuple[Label, ...], Field(min_length=2)]


class Network(_Part):
    """The trunk: a residual one of some stages and width, or EfficientNet-Lite0; or several of them.

    `members` of that layout are asked together, each of the film and of its mirror image; left out, one
    network reads the film alone.
    """

    layout: Literal["resnet-v1", "efficientnet-lite0"]
    stages: Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(max_length=5)] = ()
    width: Annotated[int, Field(ge=1, le=512)] | None = None
    members: Annotated[int, Field(ge=2, le=16)] | None = None

    @model_validator(mode="after")
    def _shape_where_it_varies(self) -> Self:
        if self.layout == "resnet-v1" and not (self.stages and self.width):
            raise ValueError("resnet-v1 needs stages and width")
        if self.layout == "efficientnet-lite0" and (self.stages or self.width):
            raise ValueError("efficientnet-lite0 has stages and width of its own; leave them out")
        return self

    def architecture(self, heads: tuple[tuple[str, int], ...]) -> ServedArchitecture:
        """Lay out the network with `heads`, names and counts of classes."""
        each: AnyArchitecture
        if self.width is None:
            each = EfficientNetLite0(heads=heads)
        else:
            each = Architecture(stages=self.stages, width=self.width, heads=heads)
        return each if self.members is None else Ensemble(members=self.members, of=each)


class Preprocessing(_Part):
    """How a picture of P-values becomes the input: made a square, then shifted and scaled by channel.

    ``squash-area-N`` squashes the whole picture to N pixels square by averaging areas; ``lung-fields-area-N``
    cuts out the lungs' box first and blanks what is no lung field (`cxr_pacs.inference.preprocessing`).
    """

    identifier: Annotated[str, Field(pattern=r"^(squash|lung-fields)-area-[1-9][0-9]{1,3}$")]
    mean: Channels
    deviation: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=3, max_length=3)]

    @property
    def size(self) -> int:
        """Side of the input square, pixels."""
        return int(self.identifier.rpartition("-")[2])

    @property
    def lung_fields_only(self) -> bool:
        """Whether the network sees nothing but the lung fields."""
        return self.identifier.startswith("lung-fields-")


class WeightsFile(_Part):
    """The weights' file beside the manifest, and its SHA-256 in hexadecimal."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.npz$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LungsFile(WeightsFile):
    """The lung network: its weights' file, the side of its input square and its channels at each level."""

    size: Annotated[int, Field(ge=16, le=1024)]
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=512)], ...], Field(min_length=1, max_length=8)]

    @property
    def network(self) -> LungNetwork:
        """The network that the weights must fit."""
        return LungNetwork(size=self.size, widths=self.widths)

    @model_validator(mode="after")
    def _halves(self) -> Self:
        if self.size % (1 << (len(self.widths) - 1)):
            raise ValueError("size must be halved evenly once for each level after the first")
        return self


class Source(_Part):
    """A collection that the model was trained on."""

    name: Text
    citation: Text
    licences: Annotated[tuple[Text, ...], Field(min_length=1)]
    images: Annotated[int, Field(ge=1)]
    patients: Annotated[int, Field(ge=1)]


class Training(_Part):
    """Where the weights come from; what is missing others trained and do not say.

    `held_out` names the films of the same manifest that were not fitted to.
    """

    procedure: Text
    seed: int | None = None
    held_out: Text | None = None
    sources: tuple[Source, ...] = ()


class Metric(_Part):
    """One figure with its 95 % interval, and on which films it was measured."""

    head: Name
    name: Text
    films: Text
    value: Share
    low: Share
    high: Share
    images: Annotated[int, Field(ge=1)]
    patients: Annotated[int, Field(ge=1)]
    interval: Text


class Claim(_Part):
    """For which patients one class is claimed, and what shows it; for others its score is withheld.

    Attributes
    ----------
    head, label : str
        The class.
    age_low, age_high : float
        Youngest and oldest patient, years; a patient of `age_high` may have had that birthday long ago.
    views : tuple of str
        Views of the films that show it, as View Position names them.
    films : str
        Which held-out films show it.
    positives, others : int
        Films of the class, and of the other classes of its head.
    figure : str
        What was measured on them, one class against the rest, e.g. ``AUROC``.
    value, low, high : float
        The model's figure and its 95 % interval.
    baseline : str
        Name of the best trivial baseline on the same films.
    baseline_value, gain_low : float
        Its figure, and the lower end of the 95 % interval of the model's gain over it, paired by patient.
    """

    head: Name
    label: Name
    age_low: Annotated[float, Field(ge=0)]
    age_high: Annotated[float, Field(le=150)]
    views: Annotated[tuple[Literal["PA", "AP"], ...], Field(min_length=1)]
    films: Text
    positives: Annotated[int, Field(ge=30)]
    others: Annotated[int, Field(ge=30)]
    figure: Text
    value: Share
    low: Share
    high: Share
    baseline: Text
    baseline_value: Share
    gain_low: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.age_low > self.age_high:
            raise ValueError("age_low is above age_high")
        if not self.low <= self.value <= self.high:
            raise ValueError("value lies outside its interval, low to high")
        return self


class Maps(_Part):
    """How much the activation maps of two patients are alike where one class leads.

    Attributes
    ----------
    label : str
        The class whose maps are the most alike, of the head that decides among the most.
    alike, low, high : float
        Mean correlation of two such maps over their cells, and its 95 % interval.
    films : str
        Which films they are of.
    images, patients : int
    """

    label: Name
    alike: Correlation
    low: Correlation
    high: Correlation
    films: Text
    images: Annotated[int, Field(ge=2)]
    patients: Annotated[int, Field(ge=2)]

    @property
    def locate(self) -> bool:
        """Whether at most half of what varies in a map, the square of 0.7, is common to all of its class."""
        return self.alike <= MOST_ALIKE


class Manifest(_Part):
    """A whole ``bundle.toml``."""

    name: Name
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    manufacturer: LongString
    device_uid: Uid
    intended_use: LongString
    licence: Text
    limitations: Annotated[tuple[Text, ...], Field(min_length=1)]
    network: Network
    preprocessing: Preprocessing
    weights: WeightsFile
    lungs: LungsFile | None = None
    heads: Annotated[tuple[Head, ...], Field(min_length=1)]
    training: Training
    metrics: tuple[Metric, ...] = ()
    maps: Maps | None = None
    claims: tuple[Claim, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [head.name for head in self.heads]
        if len(set(names)) < len(names):
            raise ValueError("heads: two have the same name")
        for head in self.heads:
            labels = [label.name for label in head.labels]
            if len(set(labels)) < len(labels):
                raise ValueError(f"heads: {head.name} names a label twice")
        labels = [code.label for code in self.classes]
        if len(set(labels)) < len(labels):
            raise ValueError("heads: two heads give one label different codes")
        if unknown := {metric.head for metric in self.metrics} - set(names):
            raise ValueError(f"metrics: {min(unknown)!r} is no head of this bundle")
        if self.preprocessing.lung_fields_only and self.lungs is None:
            raise ValueError(
                "lungs: preprocessing.identifier asks for lung fields, so a lung network is needed"
            )
        if self.lungs is not None and self.lungs.file == self.weights.file:
            raise ValueError("lungs.file: it is the file of the weights")
        known = {(head.name, label.name) for head in self.heads for label in head.labels}
        if unclaimable := {(claim.head, claim.label) for claim in self.claims} - known:
            raise ValueError(f"claims: {'/'.join(min(unclaimable))} is no class of this bundle")
        return self

    @model_validator(mode="after")
    def _input_fits(self) -> Self:
        size, stride = self.preprocessing.size, self.architecture.stride
        if size < stride:
            raise ValueError("preprocessing.identifier: the input is smaller than one feature cell")
        if size % stride and (self.network.layout == "efficientnet-lite0" or self.network.members):
            raise ValueError(
                f"preprocessing.identifier: {stride} must divide the side, for efficientnet-lite0 and "
                "wherever several networks are asked together"
            )
        return self

    @property
    def classes(self) -> tuple[ClassCode, ...]:
        """Every class of every head with its code, each once."""
        found = (
            ClassCode(
                label=label.name,
                value=label.code.value,
                scheme=label.code.scheme,
                meaning=label.code.meaning,
            )
            for head in self.heads
            for label in head.labels
        )
        return tuple(dict.fromkeys(found))

    @property
    def locates(self) -> bool:
        """Whether its maps were shown to differ from film to film, so that a side may be read from them."""
        return self.maps is not None and self.maps.locate

    @property
    def architecture(self) -> ServedArchitecture:
        """The network that the weights must fit."""
        return self.network.architecture(tuple((head.name, len(head.labels)) for head in self.heads))
