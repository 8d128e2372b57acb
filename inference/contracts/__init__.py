"""Checks of the contracts of priors and models, in a notebook too.

Example:
    >>> from ssvae.inference.contracts import check_prior
    >>> from ssvae.models.priors import StandardNormal
    >>> for rule in check_prior(StandardNormal(latent_dim=2))[-2:]:
    ...     print(rule)
    a trained model can be copied, and the copy has tensors of its own
    log p(z) has a gradient in z and in every parameter
"""

from ssvae.inference.contracts.models import check_model
from ssvae.inference.contracts.priors import check_prior
from ssvae.inference.contracts.rules import ContractError

__all__ = ["ContractError", "check_model", "check_prior"]
