"""Prepare the import of Lightning and torchmetrics, which import torchvision if it is installed.

That import fails if torchvision's compiled operators do not match torch, as with a CPU build of torch and a CUDA build
of torchvision. Nothing here needs those operators.
"""

from ssvae.data.torchvision_sets import import_torchvision_datasets

import_torchvision_datasets()
