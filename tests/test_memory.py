"""Memory that a step has freed is kept for the next step."""

import platform
import resource

import pytest
import torch
from support.forked import Forked

from ssvae.inference.training.memory import keep_freed_memory


def _page_faults_of_large_blocks():
    """Print how many pages the system has to give for each of twelve tensors of 33 MiB, one after the other."""
    keep_freed_memory()
    for _ in range(12):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(33 * 2**18).fill_(0)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_large_blocks_that_are_freed_are_not_requested_again():
    running = Forked(_page_faults_of_large_blocks)
    out, err = running.communicate()
    assert running.returncode == 0, err
    # glibc keeps the first ones apart.
    first, *_, last = map(int, out.split())
    assert last <= first / 10
