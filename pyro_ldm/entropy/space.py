"""Latent spaces as a nearest-neighbour estimate sees them: their coordinates, and the volume of a ball."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pyro_ldm.entropy.gaussian import whiten
from pyro_ldm.entropy.sphere import log_ball_volume, log_cap_area


class Space(nn.Module, ABC):
    """A latent space: coordinates in which to measure distance, and the volume within a distance.

    Attributes:
        num_spheres: Parts of a row; the distance of two rows is the Euclidean one of their most distant part.
    """

    num_spheres: int = 1

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

    Args:
        num_spheres: How many unit vectors a row holds, as :class:`Joint` strings them together: 2 for two views. The
            distance of two rows is then that of their most distant part, and a ball is a product of caps.

    Example:
        >>> Sphere(num_spheres=2)
        Sphere(num_spheres=2)
    """

    def __init__(self, *, num_spheres: int = 1):
        super().__init__()
        if num_spheres < 1:
            raise ValueError(f"num_spheres must be at least 1, got {num_spheres}")
        self.num_spheres = num_spheres

    def extra_repr(self) -> str:
        """The number of spheres."""
        return f"num_spheres={self.num_spheres}"

    def check(self, z: Tensor) -> None:
        """Refuse rows whose parts are not of unit norm."""
        if z.shape[-1] % self.num_spheres or z.shape[-1] < 2 * self.num_spheres:
            raise ValueError(
                f"rows of {z.shape[-1]} numbers are not {self.num_spheres} vectors of one length, 2 or more"
            )
        worst = (z.detach().unflatten(-1, (self.num_spheres, -1)).norm(dim=-1) - 1).abs().max()
        if worst > 1e-3:
            raise ValueError(
                f"the sphere needs rows of unit norm, but one is off by {float(worst):.3g}: end the encoder with "
                "pyro_ldm.encoders.Normalize() (and under Joint say num_spheres=2)"
            )

    def forward(self, z: Tensor, support: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rows themselves, checked."""
        self.check(support)
        return z, support, z.new_zeros(z.shape[:-2])

    def log_volume(self, squared_distance: Tensor, dim: int) -> Tensor:
        """Log-area of the caps that a chord spans; chord and polar angle are tied by chord = 2 sin(angle / 2)."""
        half_chord = (0.5 * squared_distance.sqrt()).clamp_max(1 - torch.finfo(squared_distance.dtype).eps)
        angle = (2 * half_chord.asin()).clamp_max(math.pi * (1 - 1e-7))
        return self.num_spheres * log_cap_area(dim // self.num_spheres, angle)
