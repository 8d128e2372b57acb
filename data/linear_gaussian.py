"""Data from a linear Gaussian M2, whose densities are known in closed form."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from ssvae.data.drawn_points import DrawnPoints, Points, check_scale
from ssvae.data.labels import check_count


class LinearGaussian:
    """The story of a linear Gaussian M2, with its marginal and posterior densities in closed form.

        y ~ p(y)
        z ~ N(0, I)
        x ~ N(W z + b_y, s² I)

    Integrating over z:

        p(x | y) = N(x; b_y, W Wᵀ + s² I)
        p(z | x, y) = N(z; V Wᵀ (x - b_y) / s², V),    V = (I + Wᵀ W / s²)⁻¹

    NaN in x means that an entry was not seen. Its row of W is left out, and what is returned is p(x_seen | y),
    p(y | x_seen) and p(z | x_seen, y), the marginals over what was not seen. Everything is computed in float64.

    Args:
        probabilities: p(y), (K,), positive, with sum 1.
        weight: W, (features, latent).
        bias: b_y, (K, features).
        noise: s, positive.

    References:
        Bishop (2006), "Pattern recognition and machine learning", section 2.3.3.
    """

    def __init__(self, probabilities: Tensor, weight: Tensor, bias: Tensor, noise: float) -> None:
        self.probabilities = probabilities.double()
        self.weight = weight.double()
        self.bias = bias.double()
        self.noise = noise

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x_seen), in nats.

        Args:
            x: Rows (…, features), NaN where an entry was not seen.

        Returns:
            (…), float64.
        """
        return self.log_joint(x).logsumexp(-1)

    def log_joint(self, x: Tensor) -> Tensor:
        """Return log p(x_seen, y) for each class, in nats.

        Args:
            x: Rows (…, features), NaN where an entry was not seen.

        Returns:
            (…, K), float64.

        Raises:
            ValueError: If ``x`` has another number of features.
        """
        num_features, _ = self.weight.shape
        if x.shape[-1:] != (num_features,):
            raise ValueError(f"x: expected shape (…, {num_features}); got {tuple(x.shape)}.")
        x = x.double().unsqueeze(-2)  # (…, 1, features)
        posterior = self.posterior(x, torch.arange(len(self.bias)))
        # log p(x_seen | y) = log p(x_seen | y, z) + log p(z) - log p(z | x_seen, y), whatever z is.
        z = posterior.mean  # (…, K, latent)
        missing = x.isnan()
        entries = Normal(z @ self.weight.T + self.bias, self.noise).log_prob(x.masked_fill(missing, 0))
        log_p_x = entries.masked_fill(missing, 0).sum(-1)
        log_p_z = Normal(0, 1).log_prob(z).sum(-1)
        return self.probabilities.log() + log_p_x + log_p_z - posterior.log_prob(z)

    def impute(self, x: Tensor) -> Tensor:
        """Return x with E[x_missing | x_seen] in place of missing entries.

            E[x_missing | x_seen] = Σ_y p(y | x_seen) ( b_y + W E[z | x_seen, y] )_missing

        Args:
            x: Rows (…, features), NaN where an entry was not seen.

        Returns:
            (…, features), float64.
        """
        z = self.posterior(x.unsqueeze(-2), torch.arange(len(self.bias))).mean  # (…, K, latent)
        mean = self.class_probabilities(x).unsqueeze(-2) @ (z @ self.weight.T + self.bias)  # (…, 1, features)
        return torch.where(x.isnan(), mean.squeeze(-2), x.double())

    def class_probabilities(self, x: Tensor) -> Tensor:
        """Return p(y|x), with which no classifier has a higher expected accuracy or log-likelihood.

        Args:
            x: Rows (…, features), NaN where an entry was not seen.

        Returns:
            (…, K), float64.
        """
        return self.log_joint(x).softmax(-1)

    def posterior(self, x: Tensor, y: Tensor) -> MultivariateNormal:
        """Return p(z | x_seen, y).

        Args:
            x: Rows (…, features), NaN where an entry was not seen.
            y: Classes, int64, which broadcast with (…).

        Returns:
            A normal distribution with batch shape (…) over z, (latent,), float64.
        """
        _, latent_dim = self.weight.shape
        identity = torch.eye(latent_dim, dtype=torch.float64)
        difference = x.double() - self.bias[y]  # (…, features)
        missing = difference.isnan()
        # W, with rows of zeros for the entries that were not seen
        weight = self.weight.expand(*missing.shape, -1).masked_fill(missing.unsqueeze(-1), 0)
        precision = identity + weight.mT @ weight / self.noise**2  # V⁻¹, (…, latent, latent)
        scaled = difference.masked_fill(missing, 0).unsqueeze(-2) @ weight / self.noise**2  # (…, 1, latent)
        mean = torch.linalg.solve(precision, scaled.mT).squeeze(-1)
        return MultivariateNormal(mean, precision_matrix=precision)


class LinearGaussianStory(DrawnPoints):
    """Data from a linear Gaussian M2, for which the best attainable results are known exactly.

        y ~ uniform on the K classes
        z ~ N(0, I)
        x ~ N(W z + b_y, s² I)

    ``exact`` has p(x), p(y|x) and p(z|x, y) in closed form. An M2 with a linear decoder, a normal likelihood and a
    full-rank normal posterior contains this story. Rows are not standardised, so that one scale s holds for all
    features of what a model gets. W and b are the same for every ``seed``; W_ij ~ N(0, 1) and b_yi ~ N(0, 1).

    Example:
        >>> from ssvae.data import LinearGaussianStory
        >>> story = LinearGaussianStory()
        >>> story.num_labelled, story.event_shape
        (6, (5,))
        >>> probabilities = story.exact.class_probabilities(story.test_x)
        >>> accuracy = (probabilities.argmax(-1) == story.test_labels).double().mean()
        >>> round(accuracy.item(), 2)  # no classifier has a higher one in expectation
        0.97

    Args:
        num_points: The number of training rows.
        num_labels: The number of training rows that keep their label; None for all, 0 for none.
        num_validation: The number of validation rows.
        num_test: The number of test rows.
        num_classes: The number of classes K.
        num_features: The number of features of x.
        latent_dim: The dimension of z.
        noise: The standard deviation s, positive.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
        seed: The random seed of the rows and of the choice of labelled rows.
        hidden_classes: The numbers of classes of which no training row keeps its label; a model has to discover
            them.

    Raises:
        TypeError: If a number, a hidden class or the seed is not an integer.
        ValueError: If there are fewer rows than labels or classes, fewer than two classes, no feature or latent
            dimension, the noise is not positive, or the hidden classes are not some of the classes.

    Attributes:
        exact: The distribution of the data, a `LinearGaussian`, in the units of x; its classes are those of
            ``true_class_names``.
    """

    def __init__(
        self,
        num_points: int = 1000,
        num_labels: int | None = 6,
        *,
        num_validation: int = 200,
        num_test: int = 1000,
        num_classes: int = 3,
        num_features: int = 5,
        latent_dim: int = 2,
        noise: float = 0.5,
        balanced: bool = True,
        seed: int = 0,
        hidden_classes: Sequence[int] = (),
    ) -> None:
        sizes = {"num_classes": num_classes, "num_features": num_features, "latent_dim": latent_dim}
        for argument, size in sizes.items():
            check_count(argument, size)
            lowest = 2 if argument == "num_classes" else 1
            if size < lowest:
                raise ValueError(f"{argument}: expected at least {lowest}; got {size}.")
        check_scale("noise", noise)
        if noise == 0:
            raise ValueError("noise: expected a positive number; got 0.")
        parameters = np.random.RandomState(0)
        weight = parameters.standard_normal((num_features, latent_dim))
        bias = parameters.standard_normal((num_classes, num_features))

        def draw(number: int, generator: np.random.RandomState) -> Points:
            y = generator.randint(num_classes, size=number)
            z = generator.standard_normal((number, latent_dim))
            x = z @ weight.T + bias[y] + noise * generator.standard_normal((number, num_features))
            return x, y.astype(np.int64)

        super().__init__(
            "LinearGaussianStory",
            [str(label) for label in range(num_classes)],
            draw,
            num_points=num_points,
            num_labels=num_labels,
            num_validation=num_validation,
            num_test=num_test,
            balanced=balanced,
            seed=seed,
            hidden_classes=hidden_classes,
            standardise=False,
        )
        self.num_features = num_features
        self.latent_dim = latent_dim
        self.noise = noise
        uniform = torch.full((num_classes,), 1 / num_classes, dtype=torch.float64)
        order = [int(name) for name in self.true_class_names]
        self.exact = LinearGaussian(uniform, torch.from_numpy(weight), torch.from_numpy(bias[order]), noise)
