"""Estimates of log R(z_i), the log-density of encoder outputs, and arrangements of views and steps around them."""

from pyro_ldm.entropy.arrangement import Arrangement, Joint, Pooled, Separate
from pyro_ldm.entropy.base import Entropy, SampleEntropy
from pyro_ldm.entropy.conditional import Conditional
from pyro_ldm.entropy.jacobian import Jacobian
from pyro_ldm.entropy.kde import KDE
from pyro_ldm.entropy.kernels import GaussianKernel, Kernel, VonMisesFisherKernel
from pyro_ldm.entropy.knn import KNN
from pyro_ldm.entropy.log_det import LogDet
from pyro_ldm.entropy.mixture import Mixture
from pyro_ldm.entropy.space import Plane, Space, Sphere
from pyro_ldm.entropy.zero import Zero

__all__ = [
    "KDE",
    "KNN",
    "Arrangement",
    "Conditional",
    "Entropy",
    "GaussianKernel",
    "Jacobian",
    "Joint",
    "Kernel",
    "LogDet",
    "Mixture",
    "Plane",
    "Pooled",
    "SampleEntropy",
    "Separate",
    "Space",
    "Sphere",
    "VonMisesFisherKernel",
    "Zero",
]
