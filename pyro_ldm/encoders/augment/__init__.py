"""Augmentations: batched, on the device of x, with random numbers of its own for each sample."""

from pyro_ldm.encoders.augment.base import Augmentation
from pyro_ldm.encoders.augment.geometry import Affine, Crop, Flip
from pyro_ldm.encoders.augment.intensity import ColorJitter, Cutout, Mask, Noise
from pyro_ldm.encoders.augment.two_views import TwoViews

__all__ = ["Affine", "Augmentation", "ColorJitter", "Crop", "Cutout", "Flip", "Mask", "Noise", "TwoViews"]
