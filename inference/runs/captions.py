"""Explanations in a report: the terms of the ELBO and of J, captions of the figures."""

from collections.abc import Mapping

CAPTIONS = {
    "class_samples": "Samples of each class (row): the mean of p(x | y, z) for z from the prior. Check whether each "
    "row shows its class in different styles.",
    "analogies": "Test images (first column), and images of every class y with the same style z. Check whether the "
    "class changes along a row while the style, such as slant and thickness, stays the same.",
    "new_classes": "Each class that nobody has labelled (row): the unlabelled training images that are put into it, "
    "the most probable first. Check whether a row shows one kind of image, and name it: ssvae name RUN 'new 2=boots'.",
    "reconstructions": "Test images and, below each, its reconstruction: the mean of p(x | y, z) at the mean z and the "
    "most probable class of the image. Check which details are lost.",
    "latent_map": "Latent means of test images on the first two principal components, coloured by true class. Check "
    "whether the classes separate. If the decoder depends on the class, z encodes style, and the classes may overlap.",
    "latent_map_tsne": "Latent means of test images in a t-SNE projection, coloured by true class. Check which images "
    "are neighbours. Distances between groups have no meaning.",
    "node_map": "The decoded nodes of the map, each in a frame of the colour of the most frequent class of its test "
    "images. Check whether neighbouring nodes are similar and classes form regions.",
    "plane": "The training points, with their labels: over the most probable class of q(y | x), with contours of p(x) "
    "around 50, 80, 95 and 99 % of the probability, and beside samples of each class. Check whether the boundary runs "
    "where there are few points, and whether the samples lie where the points do.",
    "marginals": "The distribution of each feature: training rows (grey) and samples of the model (blue). Check where "
    "the two differ: there the model does not describe the data.",
    "confusion_matrix": "Numbers of test images by true class (row) and class predicted by q(y|x) (column). Check "
    "which classes are confused, off the diagonal.",
    "reliability": "Accuracy (blue) against confidence in 15 bins, and the number of images in each bin below. If "
    "there are two panels, both are for the same test data. Check where the bars are below the dashed line: "
    "there the model is overconfident, by the red gap.",
    "training_curves": "All terms of J and the validation accuracy over training. Check whether the curves have "
    "converged. A KL divergence of 0 means that the latent variable carries no information (posterior collapse).",
}
"""The caption of each figure in a report, with what to look for, by the name of the figure."""

_TERMS = {
    "reconstruction": "E[-log p(x\\|y, z)], negative log-likelihood of x given the latent variables",
    "kl": "E[log q(z) - log p(z)], KL divergence of all latent variables z",
    "class prior": "E[-log p(y)], negative log-probability of the class",
    "entropy": "-H(q(y\\|x)), negative entropy of the classifier",
}
_IN_ELBO = {
    "reconstruction": "E log p(x | latent variables)",
    "kl": "- KL(latent variables)",
    "class prior": "+ E log p(y)",
    "entropy": "+ H(q(y|x))",
}
_BOUNDS = {
    "labelled": "L(x, y), the negative ELBO of a labelled image",
    "unlabelled": "U(x), the negative ELBO of an unlabelled image",
    "partial": "L(x, A), the negative ELBO of an image with candidate classes A",
}
_OTHERS = {
    "loss": "J / N, the training loss: L and U, with the KL weight, by the shares of their images, plus the terms "
    "below by their weights in config.yaml",
    "consistency": "cross-entropy of q(y\\|x) of the transformed image relative to that of the image, unweighted",
    "classification": "-log q(y\\|x) of labelled images, without its weight alpha",
    "partial_classification": "-log q(A\\|x) of images with candidate classes A, without its weight alpha",
    "kl_weight": "weight of the KL term in L and U (not in nats)",
    "learning_rate": "learning rate of the optimiser (not in nats)",
    "validation_accuracy": "accuracy of q(y\\|x) on the validation images (not in nats)",
    "validation_nll": "-log q(y\\|x) of the true classes of the validation images",
    "discriminator_y": "loss of the discriminator between classes from p(y) and from the encoder",
    "discriminator_z": "loss of the discriminator between z from the prior and from the encoder",
    "generator_y": "loss of the encoder against the discriminator of y, weighted",
    "generator_z": "loss of the encoder against the discriminator of z, weighted",
    "second_path": "-log p(x) decoded from the encoder's code",
    "commitment": "squared distance of code and node, weighted",
    "map": "squared distance of code and neighbouring nodes, weighted",
}


def signed_terms(terms: Mapping[str, float]) -> dict[str, float]:
    """Return the signed terms that sum to the negative ELBO.

    The sum is::

        negative ELBO = reconstruction + kl + class prior + entropy,    entropy = -H(q(y|x)) <= 0

    Args:
        terms: The terms from `ssvae.inference.objective.bounds.Bound.terms`, in nats. There, class is
            E[-log p(y)] - H(q(y|x)); here it is split into class prior and entropy.
    """
    signed = {name: terms[name] for name in ("reconstruction", "kl")}
    if "class" in terms:
        signed["class prior"] = terms["class"] + terms.get("entropy", 0.0)
    if "entropy" in terms:
        signed["entropy"] = -terms["entropy"]
    return signed


def elbo_in_words(terms: Mapping[str, float]) -> str:
    """Return the ELBO as a sum of terms, by name and in nats."""
    signed = signed_terms(terms)
    names = " ".join(_IN_ELBO[name] for name in signed)
    first, *others = (-value for value in signed.values())
    numbers = f"{first:.2f}" + "".join(f" {'-' if value < 0 else '+'} {abs(value):.2f}" for value in others)
    latents = [f"{name.removeprefix('kl/')} {value:.2f}" for name, value in terms.items() if name.startswith("kl/")]
    kl_terms = f" (KL: {', '.join(latents)})" if latents else ""
    return f"ELBO = {names} = {numbers} = {-terms['negative_elbo']:.2f} nats{kl_terms}"


def terms_table(row: Mapping[str, float]) -> str:
    """Return a Markdown table of the terms of J of one epoch; those of each bound have signs and sum to it."""
    lines = ["| term | value | meaning |", "|---|---|---|"]
    listed = {"epoch", "step", "seconds"}
    for part, bound in _BOUNDS.items():
        terms = {name.removeprefix(f"{part}/"): value for name, value in row.items() if name.startswith(f"{part}/")}
        listed |= {f"{part}/{name}" for name in terms}
        if not terms:
            continue
        lines += [f"| {part}: {name} | {value:+.4g} | {_TERMS[name]} |" for name, value in signed_terms(terms).items()]
        lines.append(f"| {part}: **sum** | {terms['negative_elbo']:.4g} | {bound} |")
        for name, value in terms.items():
            if name.startswith("kl/"):
                lines.append(
                    f"| {part}: {name} | {value:.4g} | part of kl that belongs to {name.removeprefix('kl/')} |"
                )
            elif name not in ("reconstruction", "kl", "class", "entropy", "negative_elbo"):
                lines.append(f"| {part}: {name} | {value:.4g} | {_OTHERS.get(name, 'a term of the model itself')} |")
    for name, value in row.items():
        if name not in listed:
            lines.append(f"| {name} | {value:.4g} | {_OTHERS.get(name, 'see `inference.objective`')} |")
    return "\n".join(lines)
