"""Every sentence that a document or a picture says to a reader, in each language.

What stands in a header (series, derivation, contribution) stays English, since it is matched and sorted by,
and so do code meanings, which are the dictionary's. Other stages speak English: `translated` finds their
sentences here by their wording.
"""

from __future__ import annotations

import functools
import re
import string
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["LANGUAGES", "Language", "Text", "capitalised", "sentence", "translated"]

Language = Literal["en", "es"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "es")


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence, or a part of one, with the same ``{placeholders}`` in each language."""

    en: str
    es: str

    def say(self, language: Language, **values: object) -> str:
        """Say it in `language` with `values` in the placeholders."""
        return (self.en if language == "en" else self.es).format(**values)


DISCLAIMER: Final = Text("AI-derived, not a diagnosis", "Obtenido por IA, no es un diagnóstico")
RESEARCH_ONLY: Final = Text("Not DICOM: for research only", "No es DICOM: solo para investigación")

# -- what a head was asked --
OR: Final = Text("or", "o")
AGAINST: Final = Text("against", "frente a")
ASSUMING: Final = Text("assuming pneumonia: {names}", "suponiendo neumonía: {names}")
TOLD_ONLY: Final = Text(
    "{names}; what is not claimed for this patient is withheld",
    "{names}; lo que el modelo no declara válido para este paciente se omite",
)

# -- verdicts --
REACHED: Final = Text("reached", "alcanzado")
NOT_REACHED: Final = Text("not reached", "no alcanzado")

# -- conclusions --
NOTHING_EVALUATED: Final = Text(
    "Nothing was evaluated: the model claims no class for this patient.",
    "No se evaluó nada: el modelo no declara validez de ninguna clase para este paciente.",
)
HEAD_REACHES: Final = Text(
    "Head {head}: the certainty reaches the decision threshold for {name}.",
    "Salida {head}: la certeza alcanza el umbral de decisión para {name}.",
)
HEAD_REACHES_IN_SOME: Final = Text(
    "Head {head}: the certainty reaches the decision threshold for {name} in {count} of {total} images.",
    "Salida {head}: la certeza alcanza el umbral de decisión para {name} en {count} de {total} imágenes.",
)
HEAD_ASSUMING: Final = Text("{head}, assuming pneumonia", "{head}, suponiendo neumonía")
HEAD_REFUTED: Final = Text(
    "Head {head} assumes pneumonia, but another head concludes normal: nothing is concluded from it.",
    "La salida {head} supone neumonía, pero otra salida concluye normal: de ella no se concluye nada.",
)
HEAD_REACHES_NONE: Final = Text(
    "Head {head}: the certainty reaches the decision threshold for no claimed class: {names}.",
    "Salida {head}: la certeza no alcanza el umbral de decisión para ninguna clase declarada: {names}.",
)

# -- parameters of the algorithm --
WEIGHTS: Final = Text("weights sha256:{digest}", "pesos sha256:{digest}")
PREPROCESSING: Final = Text("preprocessing {name}", "preprocesamiento {name}")
HEAD_ASKED: Final = Text("head {head}: {question}", "salida {head}: {question}")
THRESHOLD: Final = Text(
    "decision threshold {threshold:.2f} %: {verdict}", "umbral de decisión {threshold:.2f} %: {verdict}"
)

# -- remarks of a report --
POSITIVE_MEANS: Final = Text(
    "Classification is positive where the certainty reaches the decision threshold.",
    "La clasificación es positiva cuando la certeza alcanza el umbral de decisión.",
)
HEAD_ANSWERS: Final = Text(
    "Certainties of head {head} answer: {question}.",
    "Las certezas de la salida {head} responden a: {question}.",
)
WITHHELD_MEANS: Final = Text(
    "A class that the model does not claim for this patient is withheld: "
    "it is not evaluated, and the reason stands with it.",
    "Una clase que el modelo no declara válida para este paciente se omite: "
    "no se evalúa, y el motivo consta junto a ella.",
)

# -- the report in plain sentences --
REACHED_FOR: Final = Text(
    "The certainty reaches the decision threshold for: {names}.",
    "La certeza alcanza el umbral de decisión para: {names}.",
)
IF_PNEUMONIA: Final = Text("{name} (assuming pneumonia)", "{name} (suponiendo neumonía)")
NONE_REACHED: Final = Text(
    "No certainty reaches its decision threshold.", "Ninguna certeza alcanza su umbral de decisión."
)
REASONS_BELOW: Final = Text("The reasons stand below.", "Los motivos constan más abajo.")
SOME_WITHHELD: Final = Text(
    "Some classes were not evaluated; the reasons stand below.",
    "Algunas clases no se evaluaron; los motivos constan más abajo.",
)
IMAGE_OF: Final = Text("Image {place} of {count}. ", "Imagen {place} de {count}. ")
SUBJECT: Final = Text("{name} (head {head})", "{name} (salida {head})")
FOUND: Final = Text("{subject}: positive.", "{subject}: positivo.")
NOT_FOUND: Final = Text("{subject}: negative.", "{subject}: negativo.")
NOT_EVALUATED: Final = Text("{subject}: not evaluated.", "{subject}: no evaluado.")
CERTAINTY: Final = Text(
    "Certainty {certainty:.2f} %, decision threshold {threshold:.2f} % {verdict}.",
    "Certeza {certainty:.2f} %, umbral de decisión {threshold:.2f} % {verdict}.",
)
IN_LEFT_LUNG: Final = Text(
    "Its map lies mainly in the left lung.", "Su mapa está sobre todo en el pulmón izquierdo."
)
IN_RIGHT_LUNG: Final = Text(
    "Its map lies mainly in the right lung.", "Su mapa está sobre todo en el pulmón derecho."
)
IN_BOTH_LUNGS: Final = Text("Its map lies in both lungs.", "Su mapa está en ambos pulmones.")
MODEL: Final = Text(
    "Model {name} {version} of {manufacturer}, weights sha256:{digest}, preprocessing {preprocessing}.",
    "Modelo {name} {version} de {manufacturer}, pesos sha256:{digest}, preprocesamiento {preprocessing}.",
)
SAME_CODED: Final = Text(
    "The same findings stand coded in the measurement report of this study (series {series}); "
    "where the two differ, that one counts.",
    "Los mismos hallazgos constan codificados en el informe de mediciones de este estudio (serie {series}); "
    "si difieren, vale aquel.",
)

# -- pictures --
TITLE: Final = Text("{name}: certainty {certainty:.1f} %", "{name}: certeza {certainty:.1f} %")
HEAD_SHOWN: Final = Text("Head {head}: {question}", "Salida {head}: {question}")
THRESHOLD_SHOWN: Final = Text(
    "Decision threshold {threshold:.1f} %: {verdict}", "Umbral de decisión {threshold:.1f} %: {verdict}"
)
COLOURS: Final = Text(
    "Colour: contribution to the logit of this class, relative to the strongest here",
    "Color: contribución al logit de esta clase, relativa a la mayor de esta imagen",
)
DARK: Final = Text(
    "No region of this image argues for this class: nothing is coloured",
    "Ninguna región de esta imagen apoya esta clase: nada está coloreado",
)
OUTLINED: Final = Text(
    "{name}: certainty {certainty:.1f} %, threshold {threshold:.1f} % {verdict}",
    "{name}: certeza {certainty:.1f} %, umbral {threshold:.1f} % {verdict}",
)
OUTLINE: Final = Text(
    "Outline: half of the strongest contribution to this class, not a lesion",
    "Contorno: la mitad de la mayor contribución a esta clase, no una lesión",
)
NO_OUTLINE: Final = Text(
    "No region of this image argues for this class", "Ninguna región de esta imagen apoya esta clase"
)

# -- key objects --
SELECTED: Final = Text(
    "Certainty at or above the decision threshold: {classes}.",
    "Certeza igual o superior al umbral de decisión: {classes}.",
)
SELECTED_CLASS: Final = Text("{name} (head {head}: {question})", "{name} (salida {head}: {question})")

# -- sentences of other stages --
_REMARKS: Final = (
    Text(
        "Image for processing: shown by a logarithm and a window of its own percentiles.",
        "Imagen para procesar: mostrada con un logaritmo y una ventana de sus propios percentiles.",
    ),
    Text(
        "No lung fields were found; the whole image was read.",
        "No se hallaron campos pulmonares; se leyó la imagen entera.",
    ),
    Text(
        "Padding or shutter hide more than half of the picture.",
        "El relleno o el obturador ocultan más de la mitad de la imagen.",
    ),
    Text(
        "Patient Orientation says that the picture is mirrored.",
        "Según Patient Orientation, la imagen está en espejo.",
    ),
    Text(
        "Patient Orientation says that the picture is upside down.",
        "Según Patient Orientation, la imagen está cabeza abajo.",
    ),
    Text(
        "Presentation LUT Shape contradicts Photometric Interpretation; the latter was trusted.",
        "Presentation LUT Shape contradice a Photometric Interpretation; se siguió esta última.",
    ),
    Text("Rescale Slope is 0 and was ignored.", "Rescale Slope es 0 y no se tuvo en cuenta."),
    Text("VOI LUT Function is unknown; LINEAR was used.", "VOI LUT Function es desconocida; se usó LINEAR."),
    Text(
        "VOI LUT has entries beyond its stated bits; they were shown as white.",
        "VOI LUT tiene valores que exceden sus bits declarados; se mostraron en blanco.",
    ),
    Text(
        "Window Center and Width are not valid and were ignored.",
        "Window Center y Window Width no son válidos y no se tuvieron en cuenta.",
    ),
    Text(
        "{name} leaves the picture without contrast and was ignored.",
        "{name} deja la imagen sin contraste y no se tuvo en cuenta.",
    ),
)
# the most particular first: the last one would match them all
_REASONS: Final = (
    Text(
        "The model makes no claim on {name} for a patient of {age}; it claims it for {spans} years.",
        "El modelo no declara validez en {name} para un paciente de {age}; la declara para {spans} años.",
    ),
    Text(
        "The model makes no claim on {name} for the view {view}; it claims it for {views}.",
        "El modelo no declara validez en {name} para la proyección {view}; la declara para {views}.",
    ),
    Text(
        "The view, PA or AP, is not known, so no claim of the model on {name} applies; "
        "it claims it for {views}.",
        "No se conoce la proyección, PA o AP, y ninguna validez declarada en {name} es aplicable; "
        "la declara para {views}.",
    ),
    Text(
        "The patient's age is not known, so no claim of the model applies.",
        "No se conoce la edad del paciente, y ninguna validez declarada del modelo es aplicable.",
    ),
    Text("The model makes no claim on {name}.", "El modelo no declara validez en {name}."),
)
_NAMES: Final = (
    Text("bacterial pneumonia", "neumonía bacteriana"),
    Text("normal", "normal"),
    Text("other", "algo distinto"),
    Text("pneumonia", "neumonía"),
    Text("viral pneumonia", "neumonía vírica"),
)
_USES: Final = (Text("Research use only", "Solo para investigación"),)
_PARTS: Final = (
    *_NAMES,
    Text("less than a month", "menos de un mes"),
    Text("1 month", "1 mes"),
    Text("{count} months", "{count} meses"),
    Text("{count} years", "{count} años"),
    Text("{first} or {second}", "{first} o {second}"),
    Text("{first} to {second}", "{first} a {second}"),
)


def translated(sentence: str, language: Language) -> str:
    """Say an English sentence of another stage, or the name of a class, in `language`.

    What the catalogue does not know, as the words of a bundle that others made, stays as it is.
    """
    return _translated(sentence, (*_REMARKS, *_REASONS, *_NAMES, *_USES), language)


def capitalised(text: str) -> str:
    """`text` with a capital for the beginning of a sentence."""
    return f"{text[:1].upper()}{text[1:]}"


def sentence(text: str) -> str:
    """`text` with a full stop, unless it ends as a sentence does."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _translated(sentence: str, known: tuple[Text, ...], language: Language) -> str:
    if language == "en":
        return sentence
    for text in known:
        if match := _pattern(text.en).fullmatch(sentence):
            parts = {name: _translated(part, _PARTS, language) for name, part in match.groupdict().items()}
            return text.say(language, **parts)
    return sentence


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    parsed = string.Formatter().parse(template)
    return re.compile(
        "".join(re.escape(said) + (f"(?P<{name}>.+)" if name else "") for said, name, *_ in parsed)
    )
