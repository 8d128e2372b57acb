"""The pages of the documentation that a report names.

An installed package has no pages. A report therefore says in words what to try, and gives a page's title beside its
place in the source.
"""

from typing import NamedTuple


class Page(NamedTuple):
    """A page of the documentation.

    Attributes:
        title: The beginning of its first heading.
        path: Its file, from the root of the source.
    """

    title: str
    path: str

    def __str__(self) -> str:
        return f'The page "{self.title}" of the documentation ({self.path} of the source)'


EXPLANATION = Page("When the generative terms pay", "docs/explanation/when_the_generative_terms_pay.md")
"""It says when a model is better than its baselines."""

HELP = Page("Be better than the baseline", "docs/how-to/better_than_the_baseline.md")
"""It says what to do where a baseline is better."""

DISCOVERY = Page("Classes that nobody has labelled", "docs/how-to/discover_classes.md")
"""It says how a model finds classes that have no label."""
