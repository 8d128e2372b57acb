"""What the numbers and pictures of a report are, in words: the ELBO's terms with their signs, J's terms, captions."""

from collections.abc import Mapping

CAPTIONS = {
    "class_samples": "Samples, a row for each class: the mean of p(x | y, z), z drawn from the prior. To see: whether "
    "a row shows its class, and in different styles.",
    "analogies": "The first column has test images, the others the same style z in every class y. To see: whether the "
    "class changes along a row while slant and thickness stay.",
    "reconstructions": "Test images as the likelihood sees them and, below each, the mean of p(x | y, z) at its own "
    "mean z and most probable class. To see: what of an image survives, and what is lost.",
    "latent_map": "The mean z of test images along two directions, coloured by the true class. To see: whether the "
    "colours separate. Where the decoder is told the class, z need not know it, and mixed colours are no fault.",
    "latent_map_tsne": "The mean z of test images laid out by t-SNE, coloured by the true class. To see: which images "
    "are neighbours; distances between groups mean nothing.",
    "node_map": "Every node of the map as the image that it stands for, framed in the colour of the class that most of "
    "its test images have. To see: whether neighbouring nodes look alike and classes lie together.",
    "confusion_matrix": "How many test images of each true class (row) q(y|x) took for each class (column). To see: "
    "which classes are mixed up, off the diagonal.",
    "reliability": "Share of right answers (blue) against confidence, in 15 bins, and below how many images are in "
    "each; where there are two panels, both are of the same images and pixels. To see: where the bars stay below the "
    "dashed line, the model is surer than it is right; red is the gap.",
    "training_curves": "Every term of J and the validation accuracy over training. To see: whether the curves have "
    "levelled off, and whether a latent variable's KL divergence has gone to 0, so that it says nothing.",
}
"""What each picture of a report shows, and what to look for, by the picture's name."""

_TERMS = {
    "reconstruction": "E[-log p(image given the latent variables)], what the image costs",
    "kl": "E[log q(z) - log p(z)], over all latent variables z: what they cost",
    "class prior": "E[-log p(y)], what the class costs",
    "entropy": "-H(q(y\\|x)), an uncertain class is rewarded",
}
_IN_ELBO = {
    "reconstruction": "E log p(image | latent variables)",
    "kl": "- KL(latent variables)",
    "class prior": "+ E log p(y)",
    "entropy": "+ H(q(y|x))",
}
_BOUNDS = {
    "labelled": "L(x, y), the negative ELBO of a labelled image",
    "unlabelled": "U(x), the negative ELBO of an unlabelled image",
    "partial": "L(x, A), the negative ELBO of an image whose label admits the classes A",
}
_OTHERS = {
    "loss": "J / N, what the step minimises: L and U by their images' shares with the KL weight, and the terms below "
    "by their weights in config.yaml",
    "consistency": "cross-entropy between q(y\\|x) and that of the transformed image, without its weight",
    "classification": "-log q(y\\|x) of labelled images, without its weight alpha",
    "partial_classification": "-log q(A\\|x) of images whose label admits the classes A, without its weight alpha",
    "kl_weight": "weight of the KL term in L and U (no nats)",
    "learning_rate": "step size of the optimiser (no nats)",
    "validation_accuracy": "share of validation images that q(y\\|x) classifies rightly (no nats)",
    "validation_nll": "-log q(y\\|x) of the validation images' true classes",
    "discriminator_y": "the adversary's loss: true class or code",
    "discriminator_z": "the adversary's loss: z of the prior or of an image",
    "generator_y": "the encoder's loss against that adversary of y, weighted",
    "generator_z": "the encoder's loss against that adversary of z, weighted",
    "second_path": "-log p(x) decoded from the encoder's own code",
    "commitment": "squared distance of code and node, weighted",
    "map": "squared distance of code and the neighbouring nodes, weighted",
}


def signed_terms(terms: Mapping[str, float]) -> dict[str, float]:
    """Return the terms of `Bound.terms` that add up to the negative ELBO, each once and with its sign there.

        negative ELBO = reconstruction + kl + class prior + entropy,    entropy = -H(q(y|x)) <= 0

    `terms` has class = E[-log p(y)] - H(q(y|x)) and entropy = H(q(y|x)); here they are apart.
    """
    signed = {name: terms[name] for name in ("reconstruction", "kl")}
    if "class" in terms:
        signed["class prior"] = terms["class"] + terms.get("entropy", 0.0)
    if "entropy" in terms:
        signed["entropy"] = -terms["entropy"]
    return signed


def elbo_in_words(terms: Mapping[str, float]) -> str:
    """Return the ELBO as a sum of terms, first by their names and then in nats."""
    signed = signed_terms(terms)
    names = " ".join(_IN_ELBO[name] for name in signed)
    first, *others = (-value for value in signed.values())
    numbers = f"{first:.2f}" + "".join(f" {'-' if value < 0 else '+'} {abs(value):.2f}" for value in others)
    latents = [f"{name.removeprefix('kl/')} {value:.2f}" for name, value in terms.items() if name.startswith("kl/")]
    of_latents = f" (KL: {', '.join(latents)})" if latents else ""
    return f"ELBO = {names} = {numbers} = {-terms['negative_elbo']:.2f} nats{of_latents}"


def terms_table(row: Mapping[str, float]) -> str:
    """Return the terms of J of one epoch in Markdown: those of each bound with the signs by which they add up to it."""
    lines = ["| term | value | what it is |", "|---|---|---|"]
    told = {"epoch", "step", "seconds"}
    for part, bound in _BOUNDS.items():
        terms = {name.removeprefix(f"{part}/"): value for name, value in row.items() if name.startswith(f"{part}/")}
        told |= {f"{part}/{name}" for name in terms}
        if not terms:
            continue
        lines += [f"| {part}: {name} | {value:+.4g} | {_TERMS[name]} |" for name, value in signed_terms(terms).items()]
        lines.append(f"| {part}: **sum** | {terms['negative_elbo']:.4g} | {bound} |")
        for name, value in terms.items():
            if name.startswith("kl/"):
                lines.append(f"| {part}: {name} | {value:.4g} | the share of {name.removeprefix('kl/')} in kl |")
            elif name not in ("reconstruction", "kl", "class", "entropy", "negative_elbo"):
                lines.append(f"| {part}: {name} | {value:.4g} | {_OTHERS.get(name, 'added by the model itself')} |")
    for name, value in row.items():
        if name not in told:
            lines.append(f"| {name} | {value:.4g} | {_OTHERS.get(name, 'see `inference.objective`')} |")
    return "\n".join(lines)
