"""Networks that encode, ``encode`` for those that are invertible, and augmentations."""

from pyro_ldm.encoders.augment import Affine, ColorJitter, Cutout, Flip, Mask, Noise, TwoViews
from pyro_ldm.encoders.conv_net import ConvNet
from pyro_ldm.encoders.encode import encode
from pyro_ldm.encoders.linear import Linear
from pyro_ldm.encoders.mlp import MLP
from pyro_ldm.encoders.pca import PCA

__all__ = [
    "MLP",
    "PCA",
    "Affine",
    "ColorJitter",
    "ConvNet",
    "Cutout",
    "Flip",
    "Linear",
    "Mask",
    "Noise",
    "TwoViews",
    "encode",
]
