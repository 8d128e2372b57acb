"""`python -m benchmarks.ladder_density`: log p(x) of a ladder VAE without classes, on MNIST.

    python -m benchmarks.ladder_density [--root DIR] [--folder runs/ladder] [--max_epochs 360] [--batch_size 250] \
        [--learning_rate 0.002] [--num_components 200] [--num_samples 5000]
    python -m benchmarks.ladder_density --begin_with runs/ladder --importance_samples 10 --folder runs/tuned ...

Sønderby et al. 2016 (arXiv 1602.02282) report -81.74 nats with five stochastic layers of 64, 32, 16, 8 and 4
dimensions, after 2,000 epochs and further ones with several importance samples. This ladder has the lower three of
these stochastic layers. As in the paper, each density has two dense layers with batch norm. It is trained on all 60,000
images, binarised anew in every batch. All images are in one class, whose q(y | x) and p(y) are 1. The model is then

    p(z_3) p(z_2 | z_3) p(z_1 | z_2) p(x | z_1)

Sixteen epochs of 50,000 images, 1,000 test images, 200 samples: -89.3 nats. With one dense layer for each density:
-90.3. With five stochastic layers: -90.5, and the fourth collapses. With ELU: -91.7 and -91.3. Without batch norm
training diverges.
With --num_components p(z_3) is a mixture of Gaussians. Eight epochs, 1,000 validation images, 200 samples: -99.3 nats
with 200 of them, -102.7 with N(0, I), -104.6 with a normalizing flow. VampPrior trains like the mixture, but cannot be
evaluated: its pseudo-inputs and the images have different batch norm statistics, and the encoder stores one of them.
--begin_with continues training, as in the paper with ten importance samples and a lower learning rate.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from ssvae.data import MNIST, Arrays
from ssvae.inference import KLWeight, Objective, Recipe, Run, TrainerOptions, evaluate, fit, load, resume
from ssvae.inference.training import on_accelerator
from ssvae.models import LadderVAE, SemiSupervisedModel
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.priors import GaussianMixture, StandardNormal

TOP = 16


def main() -> None:
    """Train the ladder, and print log p(x) of the test images and the KL divergence of each stochastic layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="the folder of MNIST (default: download it to ~/.cache/ssvae)")
    parser.add_argument("--folder", help="the run folder, which is resumed if it exists (default: a new one in runs/)")
    parser.add_argument("--max_epochs", type=int, default=360, help="number of passes over the training images")
    parser.add_argument("--batch_size", type=int, default=250, help="number of images in a step")
    parser.add_argument("--learning_rate", type=float, default=0.002, help="the highest learning rate of the cycle")
    parser.add_argument("--num_components", type=int, help="number of Gaussians in p(z_3) (default: p(z_3) = N(0, I))")
    parser.add_argument("--begin_with", help="a run folder whose model is trained further (default: a new model)")
    parser.add_argument("--importance_samples", type=int, default=1, help="number of samples in the training bound")
    parser.add_argument(
        "--num_samples", type=int, default=5000, help="number of importance samples for each test image"
    )
    options = parser.parse_args()
    data = one_class(MNIST(num_labels=0, num_validation=0, root=options.root))
    begun = options.folder is not None and Path(options.folder).exists()
    run = resume(options.folder, data) if begun else train(data, options)
    with on_accelerator(run.model, TrainerOptions()):
        evaluation = evaluate(run.model, data, num_samples=options.num_samples, progress_bar=True)
    log_likelihood = f"{evaluation.log_likelihood:.2f} ± {evaluation.log_likelihood_error:.2f}"
    print(f"log p(x) {log_likelihood} nats, ELBO {evaluation.elbo:.2f} nats")
    print(", ".join(f"{name} {nats:.1f}" for name, nats in evaluation.terms.items() if name.startswith("kl/")))


def train(data: Arrays, options: argparse.Namespace) -> Run:
    """Train three stochastic layers of 64, 32 and TOP dimensions, from the image upwards, or a given ladder further."""
    if options.begin_with is None:
        kl_weight = KLWeight(start=0, end=1, until=0.1)
        prior = StandardNormal(TOP) if options.num_components is None else GaussianMixture(TOP, options.num_components)
        model: SemiSupervisedModel = LadderVAE(
            data.image_shape,
            num_classes=data.num_classes,
            prior=prior,
            likelihood=Bernoulli(),
            networks=MLP(hidden=(500, 500), activation=nn.LeakyReLU, batch_norm=True),
            latent_dims=(64, 32),
            hidden=(512, 256),
        )
    else:
        kl_weight = KLWeight()
        model = load(options.begin_with, with_data=False).model
    recipe = Recipe(
        objective=Objective(alpha=0, kl_weight=kl_weight, importance_samples=options.importance_samples),
        max_epochs=options.max_epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        one_cycle=True,
        trainer=TrainerOptions(
            precision="auto", gradient_clip=100, step="compiled" if torch.cuda.is_available() else "eager"
        ),
    )
    return fit(model, data, recipe, folder=options.folder, baselines=False)


def one_class(data: MNIST) -> Arrays:
    """Return the images, binarised anew in every batch, unlabelled, with a single class."""
    return Arrays(
        data.train_images,
        torch.zeros_like(data.train_labels),
        test_images=data.test_images,
        test_labels=torch.zeros_like(data.test_labels),
        num_labels=0,
        binarise=True,
    )


if __name__ == "__main__":
    main()
