"""Words and codes that headers use for body parts, projections and animals.

Headers are free text in practice, in the site's language; an entry here is one that was seen or that the
standard defines. Everything is compared as whole words in upper case without accents.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "ANIMAL_WORDS",
    "AP_CODES",
    "AP_WORDS",
    "CHEST_CODES",
    "CHEST_WORDS",
    "FRONTAL_CODES",
    "FRONTAL_WORDS",
    "HUMAN_CODES",
    "HUMAN_WORDS",
    "LATERAL_CODES",
    "LATERAL_POSITIONS",
    "LATERAL_WORDS",
    "OTHER_PART_WORDS",
    "OTHER_VIEW_CODES",
    "OTHER_VIEW_WORDS",
    "PA_CODES",
    "PA_WORDS",
    "words",
]

# SNOMED CT, then its older SRT spelling (PS3.16 CID 4010 and CID 4031).
PA_CODES = frozenset({"272479007", "R-40888", "R-10214"})
AP_CODES = frozenset({"399348003", "R-10206"})
FRONTAL_CODES = PA_CODES | AP_CODES | {"399033003", "R-10202"}
LATERAL_CODES = frozenset(
    {"399173006", "R-10236", "399198007", "R-10232", "399067008", "R-102CD", "30730003", "G-A145"},
)
OTHER_VIEW_CODES = frozenset(
    {
        *("399312000", "R-10208", "399059000", "R-10216", "399160007", "R-10204", "399182000", "R-102C1"),
        *("399135007", "R-10220", "399356000", "R-40985", "399006002", "R-10212", "399038007", "R-10210"),
        *("399184004", "R-10238", "399236003", "R-10234", "399061009", "R-10241", "399110001", "R-102C2"),
        *("399162004", "R-10242", "399196006", "R-10244", "399132005", "R-10252", "399004004", "R-10246"),
    },
)
CHEST_CODES = frozenset(
    {"816094009", "51185008", "T-D3000", "39607008", "T-28000"},
)
HUMAN_CODES = frozenset({"337915000", "L-85B00"})

PA_WORDS = frozenset({"PA", "POSTEROANTERIOR"})
AP_WORDS = frozenset({"AP", "ANTEROPOSTERIOR"})
FRONTAL_WORDS = PA_WORDS | AP_WORDS | {"FRONTAL", "FRENTE", "FRONTALE"}
LATERAL_WORDS = frozenset(
    {"LAT", "LATERAL", "LATERALE", "LLAT", "RLAT", "LATL", "LATR", "SEITLICH", "SEITL", "PERFIL", "PROFIL"},
)
# Only View Position spells laterals so: in free text LL is also "lower lobe" or "lower limb".
LATERAL_POSITIONS = frozenset({"LL", "RL", "ML", "LM"})
OTHER_VIEW_WORDS = frozenset(
    {
        *("LLD", "RLD", "DECUB", "DECUBITUS", "DECUBITO", "LORDOTIC", "LORDOTICA", "AXIAL"),
        *("OBL", "OBLIQUE", "OBLICUA", "SCHRAEG", "SCHRAG", "LAO", "RAO", "LPO", "RPO", "LLO", "RLO"),
    },
)
CHEST_WORDS = frozenset(
    {
        *("CHEST", "THORAX", "TORAX", "CXR", "LUNG", "LUNGS", "LUNGE", "LUNGEN", "POUMON", "POUMONS"),
        *("PULMON", "PULMONES", "PULMAO", "TORACE", "THORAXAUFNAHME", "THORAXUEBERSICHT", "THX"),
    },
)
OTHER_PART_WORDS = frozenset(
    {
        *("ABDOMEN", "ABDOMINAL", "KUB", "PELVIS", "BECKEN", "HIP", "HUEFTE", "HUFTE", "CADERA", "BREAST"),
        *("EXTREMITY", "ARM", "HUMERUS", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "THUMB", "MANO"),
        *("LEG", "FEMUR", "THIGH", "KNEE", "KNIE", "RODILLA", "PATELLA", "TIBIA", "FIBULA", "ANKLE", "FOOT"),
        *("FUSS", "TOE", "HEEL", "CALCANEUS", "CALF", "PIE", "TOBILLO", "SHOULDER", "SCHULTER", "HOMBRO"),
        *("CLAVICLE", "SCAPULA", "RIB", "RIBS", "STERNUM", "SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE"),
        *("COLUMNA", "WIRBELSAEULE", "WIRBELSAULE", "SACRUM", "COCCYX", "SKULL", "SCHAEDEL", "SCHADEL"),
        *("CRANEO", "HEAD", "NECK", "SINUS", "ORBIT", "WHOLEBODY", "CHESTABDOMEN", "CHESTABDPELVIS"),
    },
)
ANIMAL_WORDS = frozenset(
    {
        *("CANINE", "FELINE", "EQUINE", "BOVINE", "OVINE", "AVIAN", "HORSE", "RABBIT"),
        *("VETERINARY", "VETERINARIAN"),
    },
)
HUMAN_WORDS = frozenset({"HUMAN", "HOMO", "SAPIENS", "HUMANO", "MENSCH"})

_PROJECTION = re.compile(r"\b([AP])[\s./-]+([AP])\b")
_PROJECTION_LONG = re.compile(r"\b(POSTERO|ANTERO)[\s./-]*(ANTERIOR|POSTERIOR)\b")


def words(text: str) -> frozenset[str]:
    """Split `text` into upper-case words without accents; ``P.A.``, ``postero-anterior`` are one each."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().upper()
    plain = _PROJECTION_LONG.sub(r"\1\2", _PROJECTION.sub(r"\1\2", plain))
    return frozenset(re.split(r"[^A-Z0-9]+", plain)) - {""}
