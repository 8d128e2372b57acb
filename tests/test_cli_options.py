"""What `ssvae fit` takes: a near name is suggested for every wrong one, and the help lists all that there is."""

import contextlib
import io
import re
import shlex

import pytest
import yaml

from ssvae.inference.command_line.choices import CHOICES
from ssvae.inference.command_line.commands import fit_parser, help_of_fit
from ssvae.inference.command_line.fit_help import documentation
from ssvae.inference.command_line.main import COMMANDS, main
from ssvae.inference.command_line.options import suggest
from ssvae.inference.command_line.parsing import chosen_by, known_options, parse
from ssvae.inference.command_line.recipes import recipe_first
from ssvae.inference.command_line.spelling import spelled
from ssvae.inference.nearest import hint, nearest
from ssvae.inference.storage.description import build
from ssvae.models.likelihoods import Gaussian

pytestmark = pytest.mark.slow

DEFAULT = chosen_by(recipe_first([]))
OPTIONS = known_options(fit_parser(), DEFAULT)
ACCEPTED = {option.path for option in OPTIONS if not option.needs}


def sentence(*words):
    """Return the one sentence of a command that cannot be understood."""
    written = io.StringIO()
    with contextlib.redirect_stderr(written):
        assert main(list(words)) == 2
    assert written.getvalue().count("\n") == 1
    return written.getvalue().strip()


# What was typed, and what is suggested; nothing where nothing is near.
MIXTURES = "--model.prior.num_components with --model.prior ClassConditional, GaussianMixture or VampPrior?"
TYPED = {
    "--num_labels 20": "--data.num_labels?",
    "--num-labels 20": "--data.num_labels?",
    "--data.num-labels 20": "--data.num_labels?",
    "--n_labels 20": "--data.num_labels?",
    "--data.labels 20": "--data.num_labels or --data.num_coarse_labels?",
    "--objective.num_labels 20": "--data.num_labels?",
    "--prior VampPrior": "--model.prior?",
    "--piror VampPrior": "--model.prior?",
    "--model.latent_dim 5": "--model.prior.latent_dim?",
    "--latent_dim 5": "--model.prior.latent_dim?",
    "--latent-dim 5": "--model.prior.latent_dim?",
    "--prior.latent_dim 5": "--model.prior.latent_dim?",
    "--modle.prior.latent_dim 5": "--model.prior.latent_dim?",
    "--model.piror.latent_dim 5": "--model.prior.latent_dim?",
    "--model.prior.latentdim 5": "--model.prior.latent_dim?",
    "--alpha 1": "--objective.alpha?",
    "--objective.alfa 1": "--objective.alpha?",
    "--objective.aplha 1": "--objective.alpha?",
    "--weight 1": "--objective.consistency.weight?",
    "--kl_weight 3": "--objective.kl_weight?",
    "--consistency null": "--objective.consistency?",
    "--lr 0.1": "--learning_rate?",
    "-lr 0.1": "--learning_rate?",
    "--learning-rate 0.1": "--learning_rate?",
    "--epochs 3": "--max_epochs?",
    "--steps 3": "--max_steps?",
    "--Seed 3": "--seed?",
    "–seed 3": "--seed?",  # a dash, as word processors write two hyphens
    "-seed 3": "--seed?",
    "--DATA MNIST": "--data?",
    "--device gpu": "--trainer.devices?",
    "--accelerator gpu": "--trainer.accelerator?",
    "--precision auto": "--trainer.precision?",
    "--degrees 3": "--augmentation.degrees?",
    "--hidden [3]": "--model.networks.hidden or --model.classifier.hidden?",
    "--binarize true": "--data.binarise?",
    "--no-baselines": "--baselines?",
    "--num_components 3": MIXTURES,
    "--model.prior.num_components 3": MIXTURES,
    "--model GMVAE --model.prior.num_components 3": MIXTURES,
    "--model.z1_dim 3": "--model.z1_dim with --model M1M2?",
    "--z1_dim 3": "--model.z1_dim with --model M1M2?",
    "--model.inner_networks.channels [3]": "--model.inner_networks.channels with --model M1M2 and "
    "--model.inner_networks Convolutional?",
    "--num_neighbours 3": "--model.feature_classifier.num_neighbours with --model M1, DistilledM1 or DistilledM2 and "
    "--model.feature_classifier KNearestNeighbours or LabelSpreading?",
    "--root x": "--data.root with --data MNIST, SVHN, FashionMNIST, ImageFolder, NumpyFiles or SmallNORB?",
    "--data.root x": "--data.root with --data MNIST, SVHN, FashionMNIST, ImageFolder, NumpyFiles or SmallNORB?",
    "--data DomainAdaptation --data.source Digits --data.source.seeds 3 --data.target Digits": "--data.source.seed?",
    # values
    "--data mnist": "MNIST?",
    "--data=mnist": "MNIST?",
    "--data fashion": "FashionMNIST?",
    "--data fashion-mnist": "FashionMNIST?",
    "--data M2": "--model M2?",
    "--model MNIST": "--data MNIST?",
    "--model gmvae": "GMVAE?",
    "--model m1+m2": "M1M2?",
    "--model.prior vamp": "VampPrior?",
    "--model.prior gaussian_mixture": "GaussianMixture?",
    "--model.prior GMM": None,
    "--model.networks conv": "Convolutional?",
    "--model.likelihood bernouli": "Bernoulli?",
    "--model M1 --model.feature_classifier KNearestNeighbors": "KNearestNeighbours?",
    "--data DomainAdaptation --data.source mnist --data.target Digits": "MNIST?",
    "--recipe GMVAE": "gmvae?",
    "--recipe few-labels": "few_labels?",
    "--recipe demo.yaml": "demo?",
    "--trainer.precision bf16": "bf16-mixed?",
    "--data.num_labels 1,000": "1000?",
    "--max_steps 1e3": "1000?",
    "--objective.alpha 0,5": "0.5?",
    "--model.networks.hidden 500": "[500]?",
    "--model.networks.hidden 500,300": "[500,300]?",
    "--model.networks.hidden 500 300": "[500,300]?",
    "--model.networks.hidden (500, 300)": "[500,300]?",
    # words that stand alone
    "MNIST": "--data MNIST?",
    "data MNIST": "--data?",
    "M2": "--model M2?",
    # nothing is near
    "--foo 3": None,
    "--gpu": None,
    "--verbose": None,
    "--version": None,
    "--data.num_labels.foo 3": None,
    "--max_steps 10k": None,
    "--data cifar": None,
    "--model M3": None,
    "--recipe best": None,
    "fit": None,
}


@pytest.mark.parametrize(("typed", "suggested"), TYPED.items(), ids=TYPED)
def test_what_is_meant_is_suggested(typed, suggested):
    found = sentence("fit", *typed.split(" "))
    assert found.partition(" Did you mean ")[2] == (suggested or "")


def test_every_option_is_suggested_for_its_last_part():
    for name in {option.path.rpartition(".")[2].removeprefix("--") for option in OPTIONS}:
        if f"--{name}" not in ACCEPTED:
            suggested = re.findall(
                r"--[\w.]+(?= or |, --|\?| with)", suggest(f"--{name}", OPTIONS).split(" with ")[0] + "?"
            )
            assert suggested, name
            assert all(path.endswith(f".{name}") for path in suggested), (name, suggested)


def test_every_option_of_every_choice_can_be_suggested():
    paths = {option.path for option in OPTIONS}
    for kind in ("prior", "posterior", "likelihood", "networks", "classifier", "feature_classifier", "inner_networks"):
        assert f"--model.{kind}" in paths
    for option in OPTIONS:
        if option.path not in ACCEPTED and not any(each.path == option.path and not each.needs for each in OPTIONS):
            assert option.path.rpartition(".")[2] in suggest(option.path, OPTIONS)


@pytest.mark.parametrize("kind", CHOICES)
def test_every_choice_is_suggested_in_small_letters_and_with_a_slip(kind):
    names = [each.__name__ for each in CHOICES[kind]]
    for name in names:
        assert nearest(name.lower(), names) == [name]
        assert nearest(f"{name[0]}{name}", names) == [name] or len(name) < 3


def test_no_name_is_near_to_another_word():
    assert hint("xyzzy", [option.path for option in OPTIONS]) == ""
    assert suggest("--xyzzy", OPTIONS) == suggest("--data.xyzzy", OPTIONS) == ""


@pytest.mark.parametrize(
    ("typed", "suggested"),
    {
        "train": "fit", "training": "fit", "fitt": "fit", "Fit": "fit", "eval": "evaluate", "test": "evaluate",
        "predict": "classify", "sample": "generate", "attacks": "attack", "studies": "study", "resume": "fit --resume",
        "xyzzy": None, "version": None,
    }.items(),
)  # fmt: skip
def test_a_command_of_another_name_is_suggested(typed, suggested, capsys):
    assert main([typed]) == 2
    written = capsys.readouterr().err
    assert f"expected one of {', '.join(COMMANDS)}; got {typed!r}." in written
    assert written.strip().partition(" Did you mean ")[2] == (f"{suggested}?" if suggested else "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit", "--data", "=", "MNIST"], "--data: expected no space beside =, as in --data=VALUE"),
        (["fit", "--data=", "MNIST"], "--data: expected no space beside =, as in --data=VALUE"),
        (["fit", "--data.binarise"], "--data.binarise: expected a value after it; got none"),
        (["fit", "--max_steps", "1e3"], "got '1e3'"),
        (["fit", "--objective.kl_weight", "0.5"], "There are --objective.kl_weight.start, --objective.kl_weight.end, "),
        (["fit", "--augmentation", "none"], "as in --augmentation.NAME, or null; got 'none'"),
        (["fit", "--data", "DomainAdaptation"],
         "--data.source, --data.target: expected a value; got none. --data.source is the data set of the labelled "
         "images. --data.target is the data set of the unlabelled images."),
        (["fit", "--data", "Table", "--data.file", "x"],
         "--data.label: expected a value; got none. --data.label is the name of the column of labels."),
        (["fit", "--resume", "runs/x", "--seed", "3"], "--seed: expected no option beside --resume"),
        (["attack", "x", "--other.num_labels", "3"], "--other: expected a class, whose option --other.num_labels is"),
        (["attack", "x", "--epsilons", "0.1", "0.2"], "Did you mean [0.1,0.2]?"),
        (["evaluate", "x", "--checkpoint", "first"], "--checkpoint: expected last or best; got 'first'."),
        (["evaluate", "x", "y"], "y: expected an option, which begins with --; got a word without one."),
        (["study", "x.yaml", "--fodler=x"], "--fodler: expected an option of study or fit; got an unknown one. Did you "
         "mean --folder?"),
        (["study", "x.yaml", "--max_step=3"], "Did you mean --max_steps?"),
    ],
)  # fmt: skip
def test_a_newcomers_mistake_gets_its_own_sentence(words, expected):
    assert expected in sentence(*words)


def test_a_run_without_its_option_is_recognised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("{}")
    assert sentence("fit", "mine").endswith("Did you mean --resume mine?")


@pytest.mark.parametrize("words", [["--data", "my.csv"], ["my.csv"], ["--data", "Table", "my.csv"]])
def test_a_table_or_a_folder_of_ones_own_is_recognised(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.csv").write_text("a,b\n1,x\n")
    assert sentence("fit", *words).endswith("Did you mean --data Table --data.file my.csv --data.label COLUMN?")
    (tmp_path / "photos").mkdir()
    words = [word.replace("my.csv", "photos") for word in words]
    assert sentence("fit", *words).endswith("Did you mean --data ImageFolder --data.root photos?")


# Arguments in the messages of Python


def spelled_with(words, prefix, message):
    """Return a message in the spelling of the command line, for the options of the chosen classes below a prefix."""
    known = known_options(fit_parser(), chosen_by(words), others=False)
    return spelled(message, [option for option in known if option.path.startswith(prefix)])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("file: leave it out by ignore=['a b'].", "--data.file: leave it out by --data.ignore='[a b]'."),
        ("file, column 'label': expected", "--data.file, column 'label': expected"),
        ("file: got column 'num_labels'.", "--data.file: got column 'num_labels'."),
        ("label: num_new_classes=3 looks for", "--data.label: --data.num_new_classes=3 looks for"),
        ("num_labels: expected 0 as balanced=True.", "--data.num_labels: expected 0 as --data.balanced=true."),
        ("file: write kinds={'a': 'categorical'}.", "--data.file: write --data.kinds='{a: categorical}'."),
        ("file: no file num_labels/seed_1.csv.", "--data.file: no file num_labels/seed_1.csv."),
        ("validation_fraction: expected validation_fraction + test_fraction below 1; got 0.5 + 0.5.",
         "--data.validation_fraction: expected --data.validation_fraction + --data.test_fraction below 1; got 0.5 + "
         "0.5."),
        ("x: got Normal(seed=3), with seed=4.", "x: got Normal(seed=3), with --data.seed=4."),
        ("x: a label's seed, the class's file; class_names=['a'].",
         "x: a label's seed, the class's file; class_names=['a']."),
    ],
)  # fmt: skip
def test_arguments_in_a_message_are_spelled_as_options(message, expected):
    assert spelled_with(["--data=Table"], "--data", message) == expected


def test_of_options_of_one_name_the_outermost_is_meant_or_none():
    words = ["--data=DomainAdaptation", "--data.source=Digits", "--data.target=Digits"]
    assert spelled_with(words, "--data", "num_labels: expected 3.") == "num_labels: expected 3."
    for prefix, expected in {"--": "--seed", "--data": "--data.seed"}.items():
        assert spelled_with(["--data=Table"], prefix, "seed: expected 3.") == f"{expected}: expected 3."


@pytest.mark.parametrize("names", [["year"], ["bill length", "2020"], ["it's", 'a "b"'], ["a]b", "x,y", "null", "é"]])
def test_a_list_in_a_message_is_read_as_the_list_that_it_means(names):
    words = ["--data=Table", "--data.file=x", "--data.label=y"]
    message = spelled_with(words, "--data", f"file: leave it out by ignore={names!r}.")
    typed = shlex.split(message.removeprefix("--data.file: leave it out by ").removesuffix("."))
    assert parse(fit_parser(), [*words, *typed]).data.init_args.ignore == names


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data.ignore", "year"], "expected a list such as '[NAME]'; got 'year'. Did you mean '[year]'?"),
        (["--data.ignore", "a", "b"], "expected a list such as '[NAME]'; got 'a b'. Did you mean '[a,b]'?"),
        (["--data.kinds", "year"], "expected a mapping such as '{NAME: VALUE}' or null; got 'year'."),
    ],
)
def test_a_list_of_names_is_written_in_brackets(words, expected):
    assert sentence("fit", "--data=Table", "--data.file=x", "--data.label=y", *words).endswith(expected)


# The order of options


def test_a_class_may_stand_after_its_options():
    words = ["--model.prior.num_components=7", "--data.size=9", "--model.prior", "VampPrior", "--data=ImageFolder"]
    options = parse(fit_parser(), recipe_first([*words, "--data.root=x"])).as_dict()
    assert options["model"]["init_args"]["prior"]["init_args"]["num_components"] == 7
    assert options["data"]["init_args"]["size"] == 9


@pytest.mark.parametrize("words", [["--seed=3", "--config=c.yaml"], ["--config", "c.yaml", "--seed", "3"]])
def test_an_option_overrides_the_file_wherever_it_stands(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"seed": 7, "max_steps": 5}))
    options = parse(fit_parser(), words)
    assert (options.seed, options.max_steps) == (3, 5)


def test_none_is_null():
    words = [
        "--data.num_labels",
        "None",
        "--augmentation=None",
        "--max_steps",
        "None",
        "--max_epochs=3",
        "--folder=None",
    ]
    options = parse(fit_parser(), recipe_first(words))
    assert options.data.init_args.num_labels is options.augmentation is options.max_steps is options.folder is None


# Help


def shown(*words):
    """Return the help for what is chosen, as option: text."""
    parser = help_of_fit(list(words))
    return {action.option_strings[-1]: " ".join(action.help.split()) for action in parser._actions}


CHOSEN = [
    [],
    ["--data", "MNIST", "--model", "GMVAE"],
    ["--data=ImageFolder", "--data.root=x", "--model.networks", "Convolutional", "--model.classifier", "Torchvision"],
    ["--model", "M1M2", "--model.prior=VampPrior", "--model.inner_networks=MLP"],
    ["--model", "DistilledM2", "--model.feature_classifier", "LabelSpreading"],
    ["--model=SOMVAE", "--model.likelihood=Gaussian", "--recipe=few_labels"],
    ["--recipe=none"],
    ["--data=DomainAdaptation", "--data.source=Digits", "--data.target=NumpyFiles", "--data.target.root=x"],
    *[["--model", each.__name__] for each in CHOICES["model"]],
    *[["--model.prior", each.__name__] for each in CHOICES["prior"]],
    *[["--model.posterior", each.__name__] for each in CHOICES["posterior"]],
]


@pytest.mark.parametrize("words", CHOSEN, ids=" ".join)
def test_the_help_lists_what_the_run_accepts_with_its_values(words):
    help_ = shown(*words)
    flat = vars(parse(fit_parser(), recipe_first(words)).as_flat())
    values = {f"--{name.replace('.init_args', '').removesuffix('.class_path')}": value for name, value in flat.items()}
    assert {path for path in values if path not in help_} == set()
    assert {action.option_strings[0] for action in fit_parser()._actions if not action.dest.endswith("help")} - {
        "--objective", "--objective.kl_weight", "--trainer",  # which have options, and no value of their own
    } <= help_.keys()  # fmt: skip
    for path in help_.keys() - values.keys():  # of what is null, and what is no option of the run's
        if path not in ("--print_config", "--augmentation", "--objective.consistency"):
            assert re.match(r"--(augmentation|objective\.consistency)\.", path), path
    for path, value in values.items():
        if isinstance(value, bool | int | str) and path not in ("--data", "--model", "--config", "--recipe"):
            told = str(value).lower() if isinstance(value, bool) else str(value).rpartition(".")[2]
            assert help_[path].endswith(f"(default: {told})"), (path, help_[path])
        assert help_[path].partition("(default")[0].strip(), path  # every option is described


def test_what_has_to_be_given_is_said():
    assert shown("--data", "ImageFolder")["--data.root"].endswith("(required)")
    help_ = shown("--data", "DomainAdaptation")
    assert help_["--data.source"].endswith("(required)")
    assert not any(path.startswith("--data.source.") for path in help_)
    assert shown("--model.likelihood", "Categorical")["--model.likelihood.num_categories"].endswith("(required)")
    parts = {path: text for path, text in shown("--model.likelihood", "Mixed").items() if "likelihood." in path}
    assert set(parts) == {"--model.likelihood.likelihoods", "--model.likelihood.columns"}
    assert all(text.endswith("(required)") for text in parts.values())
    inner = {"--model.likelihood": ("MissingEntries", "likelihood"), "--model.networks": ("WithMask", "networks")}
    for path, (name, part) in inner.items():
        assert shown(path, name)[f"{path}.{part}"].endswith("(required)")


def test_the_likelihood_of_what_was_seen_is_named_within_that_of_missing_entries():
    words = ["--model.likelihood=MissingEntries", "--model.likelihood.likelihood=Bernoulli"]
    given = parse(fit_parser(), recipe_first(words)).model.init_args.likelihood
    assert repr(build(given.as_dict())) == "MissingEntries(likelihood=Bernoulli())"


def test_a_mixed_likelihood_is_given_by_its_parts():
    words = [
        "--model.likelihood=Mixed",
        '--model.likelihood.likelihoods=[{"class_path": "ssvae.models.likelihoods.Gaussian", "init_args": {}}]',
        "--model.likelihood.columns=[[1, 0]]",
    ]
    given = parse(fit_parser(), recipe_first(words)).model.init_args.likelihood
    likelihood = build(given.as_dict())
    assert [type(part) for part in likelihood.likelihoods] == [Gaussian]
    assert likelihood.columns == ((1, 0),)


def test_the_help_lists_the_options_of_a_class_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_data.py").write_text(
        'from ssvae.data import Digits\n\nclass Shifted(Digits):\n    """Mine.\n\n    Args:\n        by: how far.\n    '
        '"""\n\n    def __init__(self, by: int = 3) -> None:\n        super().__init__()\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    help_ = shown("--data", "own_data.Shifted", "--recipe=none")
    assert help_["--data.by"] == "how far. (default: 3)"
    assert "--data.seed" not in help_
    assert sentence("fit", "--data", "own_data.Shifted", "--recipe=none", "--data.bye", "3").endswith(
        "Did you mean --data.by?"
    )


def test_the_help_is_of_what_is_chosen(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["fit", "--help", "--model", "GMVAE", "--data", "MNIST", "--model.posterior.scale", "0.7"])
    assert caught.value.code == 0
    written = " ".join(capsys.readouterr().out.split())
    for text in (
        "--model, GMVAE: The Gaussian-mixture VAE of Ghosh",
        "--data, MNIST: ",
        "--model.prior, SeparatedMeans: ",
        "--model.prior.distance NUMBER The distance between any two means, in standard deviations",
        "--model.posterior.scale NUMBER s, the standard deviation in every dimension. (default: 0.7)",
        "the recipe gmvae",
    ):
        assert text in written, text
    assert "known subclasses" not in written


@pytest.mark.parametrize("words", [["--model.prior.help=VampPrior"], ["--model.prior.help", "VampPrior", "--seed=3"]])
def test_the_help_of_a_class_lists_its_options_as_they_are_typed(capsys, words):
    with pytest.raises(SystemExit) as caught:
        main(["fit", *words])
    assert caught.value.code == 0
    listed = {*re.findall(r"^  (--[\w.]+)", capsys.readouterr().out, re.MULTILINE)}
    assert listed == {f"--model.prior.{name}" for name in ("latent_dim", "num_components", "per_class")}


def test_without_a_class_after_it_the_help_of_a_class_is_refused():
    assert sentence("fit", "--model.prior.help") == (
        "ssvae fit: --model.prior.help: expected the name of a class after it; got none."
    )


def test_an_argument_is_described_as_such_and_not_as_an_attribute():
    class Both:
        """Both.

        Args:
            share: The argument.

        Attributes:
            share: The attribute.
        """

    assert documentation(Both) == {"share": "The argument."}


def test_help_of_a_command_may_be_asked_for_in_words(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["help", "evaluate"])
    assert caught.value.code == 0
    assert "usage: ssvae evaluate" in capsys.readouterr().out


def test_a_mistake_beside_help_is_told():
    assert "Did you mean GMVAE?" in sentence("fit", "--help", "--model", "gmvae")
