"""Networks that encode, ``encode`` for those that are invertible, and augmentations."""

from pyro_ldm.encoders.augment import Affine, ColorJitter, Crop, Cutout, Flip, Mask, Noise, TwoViews
from pyro_ldm.encoders.causal_attention import CausalAttention
from pyro_ldm.encoders.causal_conv import CausalConv
from pyro_ldm.encoders.conv_net import ConvNet
from pyro_ldm.encoders.ema import ExponentialMovingAverage
from pyro_ldm.encoders.encode import encode
from pyro_ldm.encoders.last_steps import LastSteps
from pyro_ldm.encoders.linear import Linear
from pyro_ldm.encoders.mlp import MLP
from pyro_ldm.encoders.normalize import Normalize
from pyro_ldm.encoders.pca import PCA
from pyro_ldm.encoders.per_step import PerStep
from pyro_ldm.encoders.recurrent import Recurrent
from pyro_ldm.encoders.res_net import ResNet18

__all__ = [
    "MLP",
    "PCA",
    "Affine",
    "CausalAttention",
    "CausalConv",
    "ColorJitter",
    "ConvNet",
    "Crop",
    "Cutout",
    "ExponentialMovingAverage",
    "Flip",
    "LastSteps",
    "Linear",
    "Mask",
    "Noise",
    "Normalize",
    "PerStep",
    "Recurrent",
    "ResNet18",
    "TwoViews",
    "encode",
]
