"""From the masks of queries to the masks of parts: each, all together, all but them, louder or softer.

Masks are shares of what sounds in a spot of the spectrogram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_EXCLUSION = 3


@dataclass(frozen=True)
class MaskPlan:
    """What is made of the masks of queries; by default each of them is a part.

    Masks are read as probabilities of independent sounds: "none of them" is the product of 1 - m, and "any"
    its complement. What is excluded takes the more of a spot, the less sure the target is of it.

    Attributes:
        excluded: number of masks at the end, of sounds that no part may contain.
        together: one part with everything that is wanted.
        remove: one part without it.
        gains_db: one part, the mixture with each wanted sound louder or softer by this many dB.
    """

    excluded: int = 0
    together: bool = False
    remove: bool = False
    gains_db: tuple[float, ...] | None = None

    def __call__(self, masks: np.ndarray) -> np.ndarray:
        """Masks [N,F,T] of the queries, those of the excluded last, to masks [M,F,T] of the parts.

        Those of a mix with gains may exceed 1.
        """
        wanted = masks[: len(masks) - self.excluded]
        if self.excluded:
            wanted = without(wanted, masks[len(masks) - self.excluded :])
        if self.gains_db is not None:
            return remixed(wanted, self.gains_db)[None]
        if self.remove:
            return none_of(wanted)[None]
        if self.together:
            return 1 - none_of(wanted)[None]
        return wanted


def without(wanted: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Return masks [N,F,T] without what the excluded masks [M,F,T] take: m (1 - excluded)^(3 (1 - m)).

    A plain product takes most of a target that sounds like what is excluded, for which both masks are
    high. 3 is the smallest exponent that lowers the other sound by 3 dB on validation mixtures.
    """
    return wanted * none_of(excluded) ** (_EXCLUSION * (1 - wanted))


def none_of(masks: np.ndarray) -> np.ndarray:
    """Return the share that none of the masks [N,F,T] takes, [F,T]."""
    return np.prod(1 - masks, axis=0, dtype=np.float32)


def remixed(masks: np.ndarray, gains_db: tuple[float, ...]) -> np.ndarray:
    """Return the mask [F,T] of a mix in which what each of the masks [N,F,T] takes has a gain in dB.

    Where the masks add up to more than 1 they share the spot; what none of them takes stays as it is.
    """
    factors = 10 ** (np.asarray(gains_db, np.float32) / 20)
    shares = masks / np.maximum(1, masks.sum(axis=0))
    return 1 + np.tensordot(factors - 1, shares, axes=1)
