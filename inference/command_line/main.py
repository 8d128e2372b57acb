"""The command `ssvae`. Each subcommand imports its packages when it is called, which keeps `ssvae --help` fast."""

import sys

from ssvae.inference.nearest import did_you_mean, nearest

USAGE = """\
usage: ssvae COMMAND [OPTIONS]

ssvae COMMAND --help lists the options of a command.

Semi-supervised variational autoencoders in Pyro.

Commands:
  fit       train a model; without options, M2 on the bundled digits with 100 labels
  evaluate  print accuracy, calibration and log-likelihood of a run on the test images
  generate  draw class samples, analogies, reconstructions and the latent space of a run
  classify  print the class probabilities of image files, as CSV
  impute    fill in the missing entries of a table
  export    write the classifier of a run to a file for other programs (ONNX, torch.export)
  name      name classes that nobody has labelled: ssvae name runs/NAME "new 2=boots"
  features  score the latent means of a run: linear probe, nearest neighbours, k-means
  score     score class samples by a classifier that is trained on all labels
  augment   train a classifier on the labels of a run, with and without generated images
  attack    attack the test images, and reject or reclassify adversarial images
  study     train runs for models × data × numbers of labels × seeds, and tabulate results
  explore   serve a local web page: classify drawings, look at the plane, fill in a row, compare runs

Examples:
  ssvae fit
  ssvae fit --data MNIST5k
  ssvae fit --data MNIST --data.num_labels 100
  ssvae fit --data MNIST --model.prior GaussianMixture --model.prior.num_components 20
  ssvae fit --resume runs/NAME
  ssvae evaluate runs/NAME
  ssvae generate runs/NAME
  ssvae classify runs/NAME a.png b.png folder/
  ssvae impute runs/NAME table.csv
  ssvae export runs/NAME classifier.onnx
  ssvae study studies/mnist.yaml
  ssvae explore runs/NAME runs/OTHER
"""

COMMANDS = (
    "fit",
    "evaluate",
    "generate",
    "classify",
    "impute",
    "export",
    "name",
    "features",
    "score",
    "augment",
    "attack",
    "study",
    "explore",
)
_OTHER_NAMES = {
    "train": "fit",
    "run": "fit",
    "demo": "fit",
    "resume": "fit --resume",
    "test": "evaluate",
    "predict": "classify",
    "label": "classify",
    "rename": "name",
    "sample": "generate",
    "plot": "generate",
    "cluster": "features",
    "fill": "impute",
    "onnx": "export",
    "serve": "explore",
    "compare": "explore",
}
"""Names of commands in other programs, and the command here that does the same."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words after `ssvae`. Default: those of the process.

    Returns:
        The exit status: 0 for success, 1 for a failure while the command ran, 2 for an invalid command.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["help"] and arguments[1:2] and arguments[1] in COMMANDS:
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    command, *options = arguments
    if command not in COMMANDS:
        print(
            f"ssvae: command: expected one of {', '.join(COMMANDS)}; got {command!r}.{_hint(command)}", file=sys.stderr
        )
        return 2
    from ssvae.inference.command_line.commands import run_command

    return run_command(command, options)


def _hint(command: str) -> str:
    """Return a suggestion for an unknown command."""
    if command.startswith("-"):
        return " Options follow a command."
    near = nearest(command, [*COMMANDS, *_OTHER_NAMES])
    return did_you_mean(list(dict.fromkeys(_OTHER_NAMES.get(name, name) for name in near)))
