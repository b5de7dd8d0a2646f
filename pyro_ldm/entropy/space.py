"""Latent spaces as a nearest-neighbour estimate sees them: their coordinates, and the volume of a ball."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pyro_ldm.entropy.gaussian import whiten
from pyro_ldm.entropy.sphere import log_ball_volume, log_cap_area


class Space(nn.Module, ABC):
    """A latent space: coordinates in which to measure distance, and the volume within a distance."""

    @abstractmethod
    def forward(self, z: Tensor, support: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates of ``z`` and of ``support``, and the log-density (...) that the change of coordinates costs."""

    @abstractmethod
    def log_volume(self, squared_distance: Tensor, dim: int) -> Tensor:
        """Log-volume of the ball whose radius has this square, nats."""


class Plane(Space):
    """Euclidean space, by default in the coordinates in which the batch has covariance I.

    Args:
        whiten: Whether to whiten the rows, which makes the estimate equivariant to affine maps.

    Example:
        >>> Plane(whiten=False)
        Plane(whiten=False)
    """

    def __init__(self, *, whiten: bool = True):
        super().__init__()
        self.whiten = whiten

    def extra_repr(self) -> str:
        """Whether rows are whitened."""
        return f"whiten={self.whiten}"

    def forward(self, z: Tensor, support: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whitened rows, or centred ones (for precision)."""
        if self.whiten:
            return whiten(z, support, "KNN")
        mean = support.detach().mean(-2, keepdim=True)
        return z - mean, support - mean, z.new_zeros(z.shape[:-2])

    def log_volume(self, squared_distance: Tensor, dim: int) -> Tensor:
        """Log-volume of a ball in R^D."""
        return 0.5 * dim * squared_distance.log() + log_ball_volume(dim)


class Sphere(Space):
    """The unit sphere: rows of unit norm, distances along the chord, volumes of spherical caps.

    Example:
        >>> Sphere()
        Sphere()
    """

    @staticmethod
    def check(z: Tensor) -> None:
        """Refuse rows that are not of unit norm."""
        worst = (z.detach().norm(dim=-1) - 1).abs().max()
        if worst > 1e-3:
            raise ValueError(
                f"the sphere needs rows of unit norm, but one is off by {float(worst):.3g}: "
                "end the encoder with torch.nn.functional.normalize(z, dim=-1)"
            )

    def forward(self, z: Tensor, support: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rows themselves, checked."""
        self.check(support)
        return z, support, z.new_zeros(z.shape[:-2])

    def log_volume(self, squared_distance: Tensor, dim: int) -> Tensor:
        """Log-area of the cap that a chord spans; chord and polar angle are tied by chord = 2 sin(angle / 2)."""
        half_chord = (0.5 * squared_distance.sqrt()).clamp_max(1 - torch.finfo(squared_distance.dtype).eps)
        return log_cap_area(dim, (2 * half_chord.asin()).clamp_max(math.pi * (1 - 1e-7)))
