"""What the oracle resolved of each part of a function: a part that it saw nothing of is not right for that.

Bars are compared with the claims of one output or one leaf, and the best direction counts. A part whose derivative is
small beside the others' is left out: `smallest_detectable` is a fraction of the largest element and says what was seen.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxinfo.verify._vectors import Vector, split

_MATERIAL = 0.1  # of the largest derivative


@dataclasses.dataclass
class Resolution:
    """The smallest bar of each output and of each leaf so far, as a fraction of its claimed derivative."""

    outputs: dict[int, float] = dataclasses.field(default_factory=dict)
    leaves: dict[int, float] = dataclasses.field(default_factory=dict)
    material: list[bool] | None = None

    def of_outputs(self, claimed: Vector, allowed: Vector, counted: np.ndarray) -> None:
        """Record the tangents along a direction and what they may be off."""
        size = np.where(counted & np.isfinite(claimed), np.abs(claimed), 0)
        for i in np.flatnonzero(size > _MATERIAL * size.max(initial=0)):
            self.outputs[int(i)] = min(self.outputs.get(int(i), np.inf), float(allowed[i] / size[i]))

    def of_leaves(self, terms: Vector, allowed: float, xs: Sequence[np.ndarray]) -> None:
        """Record what each leaf adds to the change along a direction, and what the sum may be off."""
        sizes = [float(np.sqrt(np.sum(part[np.isfinite(part)] ** 2))) for part in split(terms, xs)]
        if self.material is None:  # the first direction goes along all of them
            self.material = [size > _MATERIAL * max(sizes) for size in sizes]
        for k, size in enumerate(sizes):
            if size > 0 and self.material[k]:
                self.leaves[k] = min(self.leaves.get(k, np.inf), allowed / size)

    @property
    def worst(self) -> float:
        """The bar of the part that was seen least of, as a fraction of its derivative."""
        return max([*self.outputs.values(), *self.leaves.values()], default=0.0)
