"""Export of a trained classifier q(y|x) to a file for other programs: ONNX, or a program of torch.export."""

import io
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ssvae.data import Table
from ssvae.data.vector_data import VectorData
from ssvae.inference.extras import check_extra
from ssvae.inference.storage.description import describe
from ssvae.inference.storage.files import write_atomically
from ssvae.models import ClassProbabilities, SemiSupervisedModel

_PACKAGES = {".onnx": ("onnx", "onnxscript"), ".pt2": ()}


def check_export(path: Path) -> None:
    """Check that a file can be written, before any work is done.

    Raises:
        ValueError: If its suffix is unknown, if a package that writes it is not installed, or if it is to be ONNX and
            torch is older than 2.7.
        FileExistsError: If the file exists.
        FileNotFoundError: If its folder does not exist.
    """
    if path.suffix not in _PACKAGES:
        raise ValueError(f"file: expected a name that ends in {' or '.join(_PACKAGES)}; got {path}.")
    if path.exists():
        raise FileExistsError(
            f"file: expected a name that is not taken; got {path}, which exists and is never overwritten."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"file: expected an existing folder; got {path.parent}, which does not exist.")
    check_extra("file", "export", _PACKAGES[path.suffix], f" for {path.suffix}")
    if path.suffix == ".onnx" and torch.__version__ < "2.7":  # which translates no batch norm, and fixes batch sizes
        raise ValueError(
            f"file: expected torch 2.7 or newer for .onnx; got {torch.__version__}. Use .pt2, or update torch."
        )


def export_classifier(
    model: SemiSupervisedModel, class_names: tuple[str, ...], path: Path, data: VectorData | None = None
) -> None:
    """Write q(y|x) to a file: a function from images or rows to class probabilities, for any batch size.

    The input of a model of images, ``pixels``, is float32 ``(batch, *event_shape)`` in [0, 1], grey or colour and not
    binarised, as for ``ssvae classify``. The program includes all processing of pixels that the model does.

    The input of a model of vectors, ``rows``, is float32 (batch, features) in the units of the data: the program
    standardises them. A category of a `Table` is a code, its place in the list of the feature's categories. NaN is a
    missing entry; where the model admits none, the row's probabilities are NaN.

    The output ``probabilities`` is float32 (batch, classes). An ONNX file has further values as metadata, those other
    than ``class_path`` in JSON; a .pt2 file has them as extra files, with .json added to the name of those in JSON:

    * ``class_names``: a list, in the order of the output.
    * ``class_path``: the import path of the model's class.
    * ``feature_names``, for vectors: a list, in the order of the input.
    * ``feature_categories``, for vectors: the list of categories of each binary or categorical column of a `Table`, by
      the column's name.

    Example:
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession("classifier.onnx")  # doctest: +SKIP
        >>> (probabilities,) = session.run(None, {"pixels": pixels})  # doctest: +SKIP

    Args:
        model: The model, on the CPU; it is put in evaluation mode and its weights become float32.
        class_names: The names of its classes.
        path: The file: .onnx, or .pt2 for `torch.export.load`.
        data: The data set of its training, if these are vectors.

    Raises:
        ValueError: If the model does not learn q(y|x), it is one of vectors and ``data`` is None or of other vectors,
            or as in `check_export`.
        FileExistsError, FileNotFoundError: As in `check_export`.
    """
    check_export(path)
    classifier: nn.Module = ClassProbabilities(model)
    metadata = {"class_names.json": json.dumps(class_names), "class_path": describe(type(model))}
    name = "pixels"
    if len(model.event_shape) == 1:
        if data is None or data.event_shape != tuple(model.event_shape):
            got = "None" if data is None else f"one of {data.event_shape[0]}"
            raise ValueError(f"data: expected the data set of the model's {model.event_shape[0]} features; got {got}.")
        name, classifier = "rows", _OfRows(classifier, data)
        categories = data.feature_categories if isinstance(data, Table) else {}
        metadata["feature_names.json"] = json.dumps(data.feature_names)
        metadata["feature_categories.json"] = json.dumps(categories)
    x = torch.zeros(2, *model.event_shape, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporters use deprecated functions
        # Not strict, as later versions of torch do by default: a strict export does not know Pyro's contexts.
        shapes = ({0: torch.export.Dim("batch")},)
        exported = torch.export.export(classifier.float(), (x,), dynamic_shapes=shapes, strict=False)
        content = _onnx(exported, name, metadata) if path.suffix == ".onnx" else _pt2(exported, metadata)
    write_atomically(path, content)


class _OfRows(nn.Module):
    """A classifier of standardised rows as one of rows in the units of the data."""

    centre: Tensor
    scale: Tensor

    def __init__(self, classifier: nn.Module, data: VectorData) -> None:
        super().__init__()
        self.classifier = classifier
        self.register_buffer("centre", data.centre)
        self.register_buffer("scale", data.scale)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the probabilities, (batch, classes), for rows (batch, features)."""
        probabilities: Tensor = self.classifier((rows - self.centre) / self.scale)
        return probabilities


def _onnx(exported: torch.export.ExportedProgram, name: str, metadata: dict[str, str]) -> bytes:
    program = torch.onnx.export(
        exported, (), dynamo=True, verbose=False, input_names=[name], output_names=["probabilities"]
    )
    assert program is not None
    model = program.model_proto
    for key, value in metadata.items():
        model.metadata_props.add(key=key.removesuffix(".json"), value=value)
    return model.SerializeToString()


def _pt2(exported: torch.export.ExportedProgram, metadata: dict[str, str]) -> bytes:
    content = io.BytesIO()
    torch.export.save(exported, content, extra_files=metadata)
    return content.getvalue()
