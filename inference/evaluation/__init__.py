"""Evaluation: accuracy and calibration, log p(x) and p(y|x) by importance sampling, the terms of the ELBO."""

from ssvae.inference.evaluation.calibration import Calibration, ReliabilityBins, calibrate, reliability_bins
from ssvae.inference.evaluation.comparison import Comparison, compare
from ssvae.inference.evaluation.evaluation import (
    Evaluation,
    ImportanceEstimate,
    bits_per_dimension,
    calibrate_main_classes,
    evaluate,
    importance_sampling,
    log_weights,
)

__all__ = [
    "Calibration",
    "Comparison",
    "Evaluation",
    "ImportanceEstimate",
    "ReliabilityBins",
    "bits_per_dimension",
    "calibrate",
    "calibrate_main_classes",
    "compare",
    "evaluate",
    "importance_sampling",
    "log_weights",
    "reliability_bins",
]
