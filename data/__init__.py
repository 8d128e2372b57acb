"""Data sets: images, and the labels that are known.

Every data set is an `ImageData`: 8-bit images for training, validation and testing. Unlabelled training images have the
label -1.

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
from ssvae.data.hierarchy import Hierarchy
from ssvae.data.images import ImageData
from ssvae.data.mnist5k import MNIST5k
from ssvae.data.norb import SmallNORB
from ssvae.data.numpy_files import NumpyFiles
from ssvae.data.torchvision_sets import MNIST, SVHN, FashionMNIST

__all__ = [
    "MNIST",
    "SVHN",
    "Arrays",
    "Augmentation",
    "Batches",
    "Digits",
    "DomainAdaptation",
    "FashionMNIST",
    "Hierarchy",
    "ImageData",
    "ImageFolder",
    "MNIST5k",
    "NumpyFiles",
    "SmallNORB",
]
