"""q(y | x) can be exported, by torch.export and to ONNX, for a batch of any size; what cannot be says so."""

import onnxruntime
import pytest
import torch
from test_models import MODELS
from torch import nn

from ssvae.models import ClassProbabilities

pytestmark = pytest.mark.slow

NOT_LEARNED = ("ConditionalVAE", "SOMVAE", "M1", "DistilledM1, M1 alone", "M1M2, M1 alone")
# One of each kind of model, and those whose classifier is made of other parts than its first one's.
LEARNED = (
    "M2, convolutional, colour, VampPrior",
    "GMVAE",
    "GMVAE, learned means, p(y) learned, colour",
    "SparseLabelVAE",
    "AdversarialAutoencoder, a mixture, batch norm",
    "DistilledM1, taught by its own",
    "DistilledM2, taught by its features",
    "M1M2, end to end",
    "ADGM",
    "SDGM",
    "LadderVAE, three layers",
)

# Their programs have no operation that no other has, and the conversion to ONNX takes two seconds.
SAME_OPERATIONS = ("DistilledM1, taught by its own", "DistilledM2, taught by its features", "SDGM")

# With it, `ssvae export` refuses to write ONNX.
OLD_TORCH = torch.__version__ < "2.7"


@pytest.fixture(autouse=True)
def _float32():
    torch.set_default_dtype(torch.float32)


def images(model, batch):
    return (torch.rand(batch, *model.event_shape) > 0.5).float()


def export(classifier, x):
    return torch.export.export(classifier, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)


def onnx_session(exported):
    program = torch.onnx.export(exported, (), dynamo=True, verbose=False).model_proto
    return onnxruntime.InferenceSession(program.SerializeToString())


def test_every_kind_of_model_is_looked_at():
    kinds = {name.partition(",")[0] for name in MODELS}
    assert kinds == {name.partition(",")[0] for name in LEARNED} | {"ConditionalVAE", "SOMVAE", "M1"}


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of torch's own
@pytest.mark.parametrize("name", LEARNED)
def test_what_is_exported_is_the_classifier_for_a_batch_of_any_size(name):
    torch.manual_seed(3)
    model = MODELS[name]()
    classifier = ClassProbabilities(model)
    assert not model.training
    exported = export(classifier, images(model, 3))
    session = None if OLD_TORCH or name in SAME_OPERATIONS else onnx_session(exported)
    for batch in (1, 5, 40):
        x = images(model, batch)
        expected = model.classify(x).probs
        torch.testing.assert_close(exported.module()(x), expected, rtol=0, atol=1e-6)
        if session is not None:
            (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            torch.testing.assert_close(torch.from_numpy(found), expected.detach(), rtol=0, atol=1e-5)
    assert expected.std(0).max() > 1e-4  # the images do not all have one answer


@pytest.mark.parametrize("name", NOT_LEARNED)
def test_what_is_no_network_is_not_exported(name):
    with pytest.raises(ValueError, match=r"^model: expected one whose q\(y \| x\) is a network, .*; got \w+, which"):
        ClassProbabilities(MODELS[name]())


def test_the_checks_stay_in_ordinary_use():
    model = MODELS["M2"]()
    with pytest.raises(ValueError, match=r"^x: expected pixels in \[0, 1\]; got"):
        model.classify(images(model, 3) + 0.5)
    with pytest.raises(ValueError, match=r"^x: expected at least one image"):
        ClassProbabilities(model)(images(model, 3)[:0])


def test_a_module_that_looks_at_values_is_told_what_to_export_instead():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = MODELS["M2"]()

        def forward(self, x):
            return self.model.classify(x).logits

    own = Own().eval()
    with pytest.raises(
        ValueError,
        match=r"x: expected an export without validation; got one that reads pixel values.*ClassProbabilities",
    ):
        export(own, images(own.model, 3))
