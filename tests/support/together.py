"""A little training in as many processes as torchrun started; each of them saves what came out, and what it saw.

    torchrun --nproc_per_node P tests/support/together.py OUTPUT P

There is no noise, of which each process would draw its own, and plain gradient descent in float64 follows the
gradients as they are: so that P processes agree with one to the last digits, or do not take the same steps.
"""

import sys
from pathlib import Path

import torch

from ssvae.data import Augmentation
from ssvae.inference import Consistency, Objective, TrainerOptions
from ssvae.inference.training import train
from ssvae.inference.training.module import Training
from support import tiny

torch.randn = torch.zeros
torch.optim.Adam = lambda parameters, lr, fused: torch.optim.SGD(parameters, lr=lr)


def main(output, num_processes):
    """Train for two epochs of three steps."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    # Of some images no more is known than that they are of one of the first two classes.
    main_classes = {"tree": {"low": ["0", "1"], "high": ["2"]}, "num_coarse_labels": 12}
    data, model, seen, trainings = tiny.arrays(**main_classes), tiny.m2(), [], []
    observed = Training.observations

    def observations(training, batch):
        trainings.append(training)
        seen.append(tuple(index.tolist() for index in batch))
        return observed(training, batch)

    Training.observations = observations
    recipe = tiny.recipe(
        batch_size=4,
        labelled_batch_size=4,
        max_epochs=2,
        objective=Objective(alpha=1, consistency=Consistency(2.0, aligned=True, teacher_decay=0.5)),
        augmentation=Augmentation(0, 0, 0),
        trainer=TrainerOptions(accelerator="cpu", devices=num_processes, progress_bar=False),
    )
    rows = train(model, data, recipe, None)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    state = {**model.state_dict(), "alignment": trainings[0].alignment.mean}
    torch.save({"rows": rows, "state": state, "seen": seen}, output / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
