"""q(y | x) as a module from tensor to tensor, which can be exported."""

import pyro
from torch import Tensor, nn

from ssvae.models.base import SemiSupervisedModel


class ClassProbabilities(nn.Module):
    """A model's q(y | x) as a module from images to probabilities, for ``torch.export`` and ``torch.onnx``.

    The batch size may be dynamic. The exported program does not check its input: it must be
    ``(batch, *event_shape)``, of the type of the model's weights, images with pixels in [0, 1].

    Example:
        >>> import torch
        >>> from ssvae.models import ClassProbabilities, M2
        >>> classifier = ClassProbabilities(M2(event_shape=(1, 8, 8), num_classes=10))
        >>> shapes = ({0: torch.export.Dim("batch")},)
        >>> x = torch.rand(2, 1, 8, 8)
        >>> exported = torch.export.export(classifier, (x,), dynamic_shapes=shapes, strict=False)
        >>> exported.module()(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 10])

    Args:
        model: A model whose q(y | x) is a network; it is put in evaluation mode.

    Raises:
        ValueError: If the model does not learn q(y | x). A classifier of scikit-learn, for example, cannot be exported.
    """

    def __init__(self, model: SemiSupervisedModel) -> None:
        super().__init__()
        if not model.learns_classifier:
            raise ValueError(
                f"model: expected one whose q(y | x) is a network, which can be exported; got {type(model).__name__}, "
                "which does not classify by a trained network, or not in this stage."
            )
        self.model = model
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the probabilities, (batch, classes), for x ``(batch, *event_shape)``."""
        with pyro.validation_enabled(False):
            return self.model.classify(x).probs
