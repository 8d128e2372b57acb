"""The image classifiers of torchvision as q(y | x): resnet18, vgg16 and all others."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssvae.models.networks import Architecture, EventShape, Network, require_image

# Mean and standard deviation of ImageNet's channels, by which torchvision's published weights standardise pixels.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, repr=False)
class Torchvision(Architecture):
    """A classifier of torchvision, for q(y | x) alone: ``M2(..., classifier=Torchvision("resnet18"))``.

    Grey images become three equal channels. Images whose shorter side has fewer than ``size`` pixels are scaled up to
    it bilinearly. Pixels are standardised as torchvision's published weights expect.

    Attributes:
        name: One of ``torchvision.models.list_models(module=torchvision.models)``.
        weights: A file of initial weights, a state dict saved by ``torch.save``, as torchvision publishes them; None
            for random weights. If its last layer is for another number of classes, that layer starts at random. A run
            folder stores the trained weights and does not need the file any more.
        size: The minimal height and width in pixels; alexnet needs 63, inception_v3 75.

    Raises:
        FileNotFoundError: If the file of weights does not exist.
        ValueError: If torchvision has no such classifier, the size is not positive, the weights are of another
            classifier, the images have neither 1 nor 3 channels, or the model needs it for another density than q(y |
            x).
    """

    takes_mask: ClassVar[bool] = False

    name: str = "resnet18"
    weights: str | None = None
    size: int = 32

    def __post_init__(self) -> None:
        known = _torchvision_models().list_models(module=_torchvision_models())
        if self.name not in known:
            near = get_close_matches(self.name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(f"name: expected a classifier of torchvision, such as resnet18; got {self.name!r}.{hint}")
        if self.size < 1:
            raise ValueError(f"size: expected a positive number of pixels; got {self.size}.")
        if self.weights is not None and not Path(self.weights).is_file():
            raise FileNotFoundError(f"weights: expected a file; got {self.weights!r}, which does not exist.")

    def encoder(self, event_shape: EventShape, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """Make the classifier; see `~ssvae.models.networks.Architecture.encoder`.

        Raises:
            ValueError: If the network has inputs besides the image, x is not an image of 1 or 3 channels, or the file
                of weights is of another classifier.
        """
        if num_classes or num_beside:
            raise self._misplaced("a network with further inputs")
        channels, _, _ = require_image(event_shape, "Torchvision")
        if channels not in (1, 3):
            raise ValueError(f"event_shape: Torchvision expected 1 or 3 channels; got {channels}.")
        # These two warn about their initial weights unless the option is given.
        options = {"init_weights": False} if self.name in ("googlenet", "inception_v3") else {}
        network: nn.Module = _torchvision_models().get_model(self.name, num_classes=num_outputs, **options)
        if self.weights is not None:
            _load(network, self.weights, self.name)
        return _Classifier(network, self.size)

    def decoder(self, num_inputs: int, event_shape: EventShape, num_classes: int = 0) -> Network:
        """Not supported.

        Raises:
            ValueError: Always.
        """
        raise self._misplaced("a decoder")

    def dense(self, num_inputs: int, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """Not supported.

        Raises:
            ValueError: Always.
        """
        raise self._misplaced("a network of vectors")

    def _misplaced(self, wanted: str) -> ValueError:
        return ValueError(
            f"classifier: expected an architecture that makes {wanted}; got Torchvision, a classifier of images alone."
        )


class _Classifier(Network):
    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        height, width = inputs.shape[-2:]
        if min(height, width) < self.size:
            scale = self.size / min(height, width)
            inputs = F.interpolate(inputs, size=(round(scale * height), round(scale * width)), mode="bilinear")
        outputs = self.network((inputs - self.mean) / self.deviation)  # grey becomes (batch, 3, height, width)
        # In training mode googlenet and inception_v3 also return the logits of auxiliary classifiers.
        logits: Tensor = getattr(outputs, "logits", outputs)
        return logits


def _load(network: nn.Module, path: str, name: str) -> None:
    """Load weights, except those of a last layer for another number of classes."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        initial = network.state_dict()
        # The rows of the last layer's matrix, and of its bias, are the classes.
        last_layer = {
            key for key, value in saved.items() if key in initial and value.shape[1:] == initial[key].shape[1:]
            and value.shape != initial[key].shape
        }  # fmt: skip
        kept = {key: value for key, value in saved.items() if key not in last_layer}
        network.load_state_dict(kept | {key: initial[key] for key in last_layer})
    except Exception as error:  # torch.load fails in many ways
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"weights: expected a state dict of torchvision's {name} in {path}; got another file: {reason[-1].strip()}"
        ) from error


def _torchvision_models() -> ModuleType:
    # Imported here because torchvision takes a second to import.
    import torchvision.models

    module: ModuleType = torchvision.models
    return module
