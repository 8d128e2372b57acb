"""The command `ssvae`: finds the subcommand, and loads what it needs only then, so that --help answers at once."""

import sys

from ssvae.inference.nearest import asked, nearest

USAGE = """\
usage: ssvae COMMAND [OPTIONS]        (ssvae COMMAND --help lists the options of one)

Semi-supervised variational autoencoders in Pyro.

  fit       train a model; without options: M2 on the bundled digits, 100 labels
  evaluate  accuracy, calibration and log-likelihood of a run, on the test images
  generate  figures of a run: class samples, analogies, reconstructions, latent space
  classify  one line (CSV) per image: file, class, probability of each class
  export    the classifier of a run as a file for other programs (ONNX or torch.export)
  features  linear probe, nearest neighbours and k-means on the latent means of a run
  score     class samples, scored by a classifier that was trained on all labels
  augment   train a classifier on the run's labels, with and without generated images
  attack    adversarial attacks: accuracy, rejection, reclassification by the decoder
  study     runs for models × data × numbers of labels × seeds, and a table of results
  explore   a local web page: classify drawings, decode the latent space, sample, compare runs

  ssvae fit
  ssvae fit --data MNIST5k
  ssvae fit --data MNIST --data.num_labels 100
  ssvae fit --data MNIST --model.prior GaussianMixture --model.prior.num_components 20
  ssvae fit --resume runs/NAME
  ssvae evaluate runs/NAME
  ssvae generate runs/NAME
  ssvae classify runs/NAME a.png b.png folder/
  ssvae export runs/NAME classifier.onnx
  ssvae study studies/mnist.yaml
  ssvae explore runs/NAME runs/OTHER
"""

COMMANDS = (
    "fit",
    "evaluate",
    "generate",
    "classify",
    "export",
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
    "sample": "generate",
    "plot": "generate",
    "cluster": "features",
    "onnx": "export",
    "serve": "explore",
    "compare": "explore",
}
"""What other programs call it."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words after `ssvae`; those of the process where they are not given.

    Returns:
        The exit status: 0, or 1 for a failure, or 2 for a command that cannot be understood.
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
    """Return what to type instead of what is no command."""
    if command.startswith("-"):
        return " Options stand after a command."
    near = nearest(command, [*COMMANDS, *_OTHER_NAMES])
    return asked(list(dict.fromkeys(_OTHER_NAMES.get(name, name) for name in near)))
