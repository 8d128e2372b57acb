"""Export of a trained classifier q(y|x) to a file for other programs: ONNX, or a program of torch.export."""

import io
import json
import warnings
from pathlib import Path

import torch

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


def export_classifier(model: SemiSupervisedModel, class_names: tuple[str, ...], path: Path) -> None:
    """Write q(y|x) to a file: a function from images to class probabilities, for any batch size.

    The input ``pixels`` is float32 ``(batch, *event_shape)`` in [0, 1], grey or colour and not binarised, as for
    ``ssvae classify``. The output ``probabilities`` is float32 (batch, classes). The program includes all processing of
    pixels that the model does. The class names, a list in JSON, are the metadata "class_names" of an ONNX file, or the
    extra file "class_names.json" of a .pt2 file. The import path of the model's class is stored beside them as
    "class_path".

    Example:
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession("classifier.onnx")  # doctest: +SKIP
        >>> (probabilities,) = session.run(None, {"pixels": pixels})  # doctest: +SKIP

    Args:
        model: The model, on the CPU; it is put in evaluation mode and its weights become float32.
        class_names: The names of its classes.
        path: The file: .onnx, or .pt2 for `torch.export.load`.

    Raises:
        ValueError: If the model does not learn q(y|x), or as in `check_export`.
        FileExistsError, FileNotFoundError: As in `check_export`.
    """
    check_export(path)
    classifier = ClassProbabilities(model).float()
    pixels = torch.zeros(2, *model.event_shape, dtype=torch.float32)
    metadata = {"class_names": json.dumps(class_names), "class_path": describe(type(model))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporters use deprecated functions
        # Not strict, as later versions of torch do by default: a strict export does not know Pyro's contexts.
        shapes = ({0: torch.export.Dim("batch")},)
        exported = torch.export.export(classifier, (pixels,), dynamic_shapes=shapes, strict=False)
        content = _onnx(exported, metadata) if path.suffix == ".onnx" else _pt2(exported, metadata)
    write_atomically(path, content)


def _onnx(exported: torch.export.ExportedProgram, metadata: dict[str, str]) -> bytes:
    program = torch.onnx.export(
        exported, (), dynamo=True, verbose=False, input_names=["pixels"], output_names=["probabilities"]
    )
    assert program is not None
    model = program.model_proto
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString()


def _pt2(exported: torch.export.ExportedProgram, metadata: dict[str, str]) -> bytes:
    content = io.BytesIO()
    extra_files = {"class_names.json": metadata["class_names"], "class_path": metadata["class_path"]}
    torch.export.save(exported, content, extra_files=extra_files)
    return content.getvalue()
