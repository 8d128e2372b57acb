import math
from pathlib import Path

import pytest
import torch

from ssvae.inference.evaluation import compare
from ssvae.inference.evaluation.interval import accuracy_interval, few_tested
from ssvae.inference.runs.pages import DISCOVERY, EXPLANATION, HELP
from ssvae.inference.runs.report import verdict
from ssvae.inference.runs.run import Run
from ssvae.models import M2


def answers(*groups):
    """Probabilities (N, 3) of a classifier that gives class 0 or 1 to so many images after each other."""
    classes = torch.cat([torch.full((number,), answer) for number, answer in groups])
    return torch.nn.functional.one_hot(classes, 3).double() * 0.7 + 0.1


def pair(both, first, second, neither):
    """Probabilities of two classifiers, of which so many of the images are right in both, in one, in none; class 0."""
    ours = answers((both, 0), (first, 0), (second, 1), (neither, 1))
    theirs = answers((both, 0), (first, 1), (second, 0), (neither, 1))
    return ours, theirs, torch.zeros(both + first + second + neither, dtype=torch.int64)


@pytest.mark.parametrize(
    ("counts", "difference", "p_value", "beyond"),
    [
        # p: the binomial sum 2 Σ_{k <= min(b, c)} C(b + c, k) / 2^(b + c), and 1 where b = c.
        ((80, 10, 1, 9), 0.09, 2 * (1 + 11) / 2**11, True),
        ((80, 5, 2, 13), 0.03, 2 * (1 + 7 + 21) / 2**7, False),
        ((80, 0, 9, 11), -0.09, 2 / 2**9, True),
        ((80, 5, 5, 10), 0.0, 1.0, False),
        ((100, 0, 0, 0), 0.0, 1.0, False),
        # 2.02 standard errors, and yet six images that all fall on one side happen by chance in one case of 32 …
        ((90, 6, 0, 4), 0.06, 2 / 2**6, True),
        # … and five in one of 16.
        ((90, 5, 0, 5), 0.05, 2 / 2**5, False),
    ],
)
def test_the_difference_its_standard_error_and_the_exact_test_of_mcnemar(counts, difference, p_value, beyond):
    _, first, second, _ = counts
    found = compare(*pair(*counts))
    assert found.num_images == 100
    assert found.difference == pytest.approx(difference, abs=1e-15)
    # Σ d² = b + c, since each d is -1, 0 or 1.
    variance = (first + second - 100 * difference**2) / 99
    assert found.standard_error == pytest.approx(math.sqrt(variance / 100), abs=1e-15)
    assert found.p_value == pytest.approx(p_value, rel=1e-12)
    assert found.is_beyond_chance == beyond


def test_a_pair_of_classifiers_the_other_way_round_has_the_opposite_difference():
    ours, theirs, labels = pair(50, 7, 3, 10)
    there, back = compare(ours, theirs, labels), compare(theirs, ours, labels)
    assert back.difference == -there.difference
    assert (back.standard_error, back.p_value) == (there.standard_error, there.p_value)


def test_one_image_has_no_standard_error():
    found = compare(*pair(0, 1, 0, 0))
    assert (found.difference, found.p_value) == (1.0, 1.0)
    assert found.to_dict() == {"difference": 1.0, "standard_error": None, "p_value": 1.0, "num_images": 1}


def test_answers_to_other_images_are_refused():
    ours, theirs, labels = pair(5, 1, 1, 1)
    with pytest.raises(ValueError, match=r"labels: expected one class for each of 7 images; got \(8,\)"):
        compare(ours, theirs[:7], labels)


def said(tmp_path, **of_baselines):
    """What a report says of M2, beside baselines with these numbers of images that both, one and neither get right."""
    run = Run(tmp_path, M2((1, 8, 8), 3), ("a", "b", "c"))
    for name, counts in of_baselines.items():
        run.comparisons[name.replace("_", " ")] = compare(*pair(*counts))
    return verdict(run)


def test_the_sentence_says_better_beyond_chance(tmp_path):
    # sqrt((11 - 100 · 0.09²) / 99 / 100) = 3.208 points
    assert said(tmp_path, supervised=(80, 10, 1, 9)) == (
        "M2 is better than the labels alone (supervised) by 9.00 ± 3.21 points, beyond chance (paired difference ± "
        "standard error on 100 test images; McNemar's test at 5%, for these labels and this seed). "
        'The page "When the generative terms pay" of the documentation '
        "(docs/explanation/when_the_generative_terms_pay.md of the source) explains why."
    )


def test_the_sentence_says_within_chance(tmp_path):
    # sqrt((7 - 100 · 0.03²) / 99 / 100) = 2.642 points
    assert said(tmp_path, supervised=(80, 5, 2, 13)).startswith(
        "M2 is better than the labels alone (supervised) by 3.00 ± 2.64 points, within chance (paired difference"
    )


def test_the_sentence_says_worse_beyond_chance(tmp_path):
    # sqrt((9 - 100 · 0.09²) / 99 / 100) = 2.876 points
    words = said(tmp_path, supervised=(80, 0, 9, 11))
    assert words.startswith(
        "M2 is worse than the labels alone (supervised) by 9.00 ± 2.88 points, beyond chance (paired difference"
    )
    assert words.endswith(
        " Try more steps, a larger --objective.alpha or --objective.kl_weight.start, and choose by the validation "
        'accuracy. The page "Be better than the baseline" of the documentation '
        "(docs/how-to/better_than_the_baseline.md of the source) has more."
    )


def test_worse_within_chance_is_looked_at_again_first(tmp_path):
    assert " Look first whether it is so with other labels and another --seed. The" in said(
        tmp_path, supervised=(80, 2, 5, 13)
    )


def test_the_pages_that_are_named_exist_under_their_titles():
    for page in (EXPLANATION, HELP, DISCOVERY):
        first = (Path(__file__).resolve().parent.parent / page.path).read_text(encoding="utf-8").partition("\n")[0]
        assert first.startswith(f"# {page.title}")


def test_the_sentence_names_each_baseline(tmp_path):
    # The model's answers are the same beside both: 85 right of 100.
    words = said(tmp_path, supervised=(75, 10, 0, 15), consistency_alone=(85, 0, 0, 15))
    assert words.startswith(
        "M2 is better than the labels alone (supervised) by 10.00 ± 3.02 points, beyond chance, and as often right as "
        "consistency alone, within chance (paired difference"
    )


def test_there_is_no_sentence_without_a_comparison(tmp_path):
    assert said(tmp_path) == ""


# One accuracy


@pytest.mark.parametrize(("accuracy", "number"), [(5 / 6, 6), (0.5, 10), (0.96, 1000)])
def test_the_interval_of_an_accuracy_has_the_ends_of_the_normal_test(accuracy, number):
    ends = accuracy_interval(accuracy, number)
    assert ends[0] < accuracy < ends[1]
    for end in ends:
        assert abs(accuracy - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / number), rel=1e-9)


def test_the_interval_where_all_are_right_is_no_point():
    # z² / (n + z²) is the share that may be wrong.
    assert accuracy_interval(1.0, 6) == (pytest.approx(6 / (6 + 1.959964**2), rel=1e-9), 1.0)
    assert accuracy_interval(0.0, 6) == (0.0, pytest.approx(1.959964**2 / (6 + 1.959964**2), rel=1e-9))


def test_few_test_observations_are_told_with_the_interval():
    assert few_tested(5 / 6, 6, "row") == (
        "Only 6 test rows: an accuracy of 83% on so few is compatible with 44% to 97% on others (95% interval)."
    )
    assert few_tested(1.0, 1, "image").startswith("Only 1 test image: an accuracy of 100%")
    assert few_tested(0.5, 24, "row") != "" == few_tested(0.5, 25, "row")
