"""Data sets: observations, and the labels that are known.

Every data set is a `Data`: observations of one shape for training, validation and testing. Those of images are an
`ImageData`, with 8-bit images. Unlabelled training observations have the label -1.

Example:
    >>> from ssvae.data import Digits
    >>> digits = Digits(num_labels=50)
    >>> digits.num_labelled, digits.num_unlabelled, digits.image_shape
    (50, 1147, (1, 8, 8))
"""

from ssvae.data.arrays import Arrays
from ssvae.data.augmentation import Augmentation
from ssvae.data.batches import Batches
from ssvae.data.digits import Digits
from ssvae.data.domain_adaptation import DomainAdaptation
from ssvae.data.folder import ImageFolder
from ssvae.data.hiding import hide
from ssvae.data.hierarchy import Hierarchy
from ssvae.data.images import ImageData
from ssvae.data.linear_gaussian import LinearGaussianStory
from ssvae.data.mnist5k import MNIST5k
from ssvae.data.norb import SmallNORB
from ssvae.data.numpy_files import NumpyFiles
from ssvae.data.observations import Data
from ssvae.data.point_sets import Circles, Clusters, Moons, Pinwheel
from ssvae.data.table import Table
from ssvae.data.torchvision_sets import MNIST, SVHN, FashionMNIST
from ssvae.data.vector_data import VectorData
from ssvae.data.vectors import Vectors

__all__ = [
    "MNIST",
    "SVHN",
    "Arrays",
    "Augmentation",
    "Batches",
    "Circles",
    "Clusters",
    "Data",
    "Digits",
    "DomainAdaptation",
    "FashionMNIST",
    "Hierarchy",
    "ImageData",
    "ImageFolder",
    "LinearGaussianStory",
    "MNIST5k",
    "Moons",
    "NumpyFiles",
    "Pinwheel",
    "SmallNORB",
    "Table",
    "VectorData",
    "Vectors",
    "hide",
]
