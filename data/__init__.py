"""What is seen: images, and which of their labels are known.

Every data set is an `ImageData`: 8-bit images for training, validation and test, with -1 as the label of each
training image whose class is not known.

Example:
    >>> from data import Digits
    >>> digits = Digits(num_labels=50)
    >>> digits.num_labelled, digits.num_unlabelled, digits.image_shape
    (50, 1147, (1, 8, 8))
"""

from data.arrays import Arrays
from data.augmentation import Augmentation
from data.batches import Batches
from data.digits import Digits
from data.domain_adaptation import DomainAdaptation
from data.folder import ImageFolder
from data.hierarchy import Hierarchy
from data.images import ImageData
from data.norb import SmallNORB
from data.numpy_files import NumpyFiles
from data.torchvision_sets import MNIST, SVHN, FashionMNIST

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
    "NumpyFiles",
    "SmallNORB",
]
