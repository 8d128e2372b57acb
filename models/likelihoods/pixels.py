"""The base class of likelihoods of pixels in [0, 1]."""

from torch import Tensor

from ssvae.models.likelihoods.base import Likelihood


class PixelLikelihood(Likelihood):
    """The distribution p(x | ·) of numbers in [0, 1], such as pixels; see `Likelihood`."""

    def check(self, x: Tensor) -> None:
        """Refuse numbers outside [0, 1]; see `Likelihood.check`."""
        low, high = x.min().item(), x.max().item()
        if not (low >= 0 and high <= 1):  # written so that NaN is refused too
            raise ValueError(f"{self._entries}: expected values in [0, 1]; got values in [{low:.4g}, {high:.4g}].")

    def check_input(self, x: Tensor) -> None:
        """Refuse numbers outside [0, 1]; see `Likelihood.check_input`."""
        if not ((x >= 0) & (x <= 1)).all():  # written so that NaN is refused too
            instead = "" if self._is_image else f" For real numbers choose the likelihood Gaussian, not {self}."
            raise ValueError(
                f"x: expected {self._entries} in [0, 1]; got values from {x.min():.4g} to {x.max():.4g}.{instead}"
            )

    @property
    def _is_image(self) -> bool:
        return self.event_dim == 3

    @property
    def _entries(self) -> str:
        return "pixels" if self._is_image else "features"
