"""Several networks that are asked together, in plain Python: what a bundle of them must hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cxr_pacs.inference.architecture import AnyArchitecture

__all__ = ["Ensemble", "ServedArchitecture", "member"]


def member(number: int) -> str:
    """Name of a network of an ensemble, counted from 1; its layers are named ``m1_stem_conv`` and so on."""
    return f"m{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Networks of one layout; each reads the film and its mirror image, and all that is said is averaged.

    The heads are linear on averaged features, so the mean of the members' logits is one linear head on the
    members' features side by side: to everything behind the trunk an ensemble is one network with more
    channels, and its activation maps are exact.

    Attributes
    ----------
    members : int
        How many.
    of : Architecture or EfficientNetLite0
        Layout of each; its heads are those of the whole.
    """

    members: int
    of: AnyArchitecture

    @property
    def heads(self) -> tuple[tuple[str, int], ...]:
        """Name of each head and its number of classes."""
        return self.of.heads

    @property
    def stride(self) -> int:
        """Pixels of the input from one feature cell to the next."""
        return self.of.stride

    @property
    def first_centre(self) -> tuple[float, float]:
        """Centre of the first feature cell from the top and from the left of the input, in cells.

        A cell's features are the mean of two: those of the film, and those of the mirror image, mirrored
        back. Their centres lie evenly about the middle of the cell where the side of the input is a multiple
        of `stride`, as a manifest demands.
        """
        return self.of.first_centre[0], 0.5

    @property
    def channels(self) -> int:
        """Channels of the last feature map, all members' together."""
        return self.members * self.of.channels

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name (``layer/weight``) and shape of every weight, as Keras lays them out."""
        trunk = replace(self.of, heads=()).weight_shapes()
        shapes = {
            f"{member(number)}_{name}": shape
            for number in range(1, self.members + 1)
            for name, shape in trunk.items()
        }
        for head, classes in self.heads:
            shapes |= {f"{head}/kernel": (self.channels, classes), f"{head}/bias": (classes,)}
        return shapes


ServedArchitecture = AnyArchitecture | Ensemble
"""What a bundle may hold."""
