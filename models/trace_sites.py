"""The sites of a Pyro trace."""

from typing import Any

from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample


def sample_sites(trace: Trace) -> dict[str, Any]:
    """Return the random variables of a trace, observed or not, by name, without its plates, which are sites too."""
    return {
        name: site for name, site in trace.nodes.items() if site["type"] == "sample" and not site_is_subsample(site)
    }


def latent_sites(trace: Trace) -> dict[str, Any]:
    """Return the random variables that are not observed, by name."""
    return {name: site for name, site in sample_sites(trace).items() if not site["is_observed"]}
