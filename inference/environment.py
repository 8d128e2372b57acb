"""Imported before Lightning and torchmetrics, which import torchvision wherever it is installed.

Where torchvision's compiled operators do not fit torch (a CPU build of torch beside the registry's torchvision),
that import would fail; nothing here needs those operators.
"""

from ssvae.data.torchvision_sets import import_torchvision_datasets

import_torchvision_datasets()
