"""Networks that encode, ``encode`` for those that are invertible, and augmentations."""

from pyro_ldm.encoders.augment import Affine, ColorJitter, Crop, Cutout, Flip, Mask, Noise, TwoViews
from pyro_ldm.encoders.conv_net import ConvNet
from pyro_ldm.encoders.ema import ExponentialMovingAverage
from pyro_ldm.encoders.encode import encode
from pyro_ldm.encoders.linear import Linear
from pyro_ldm.encoders.mlp import MLP
from pyro_ldm.encoders.normalize import Normalize
from pyro_ldm.encoders.pca import PCA
from pyro_ldm.encoders.res_net import ResNet18

__all__ = [
    "MLP",
    "PCA",
    "Affine",
    "ColorJitter",
    "ConvNet",
    "Crop",
    "Cutout",
    "ExponentialMovingAverage",
    "Flip",
    "Linear",
    "Mask",
    "Noise",
    "Normalize",
    "ResNet18",
    "TwoViews",
    "encode",
]
