"""Error messages in the spelling of the command line: ``--data.ignore='[name]'`` in place of ``ignore=['name']``."""

import ast
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import yaml

from ssvae.inference.command_line.options import Option, option_name
from ssvae.inference.command_line.parsing import UsageError

_TEXT = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_VALUE = rf"\[(?:{_TEXT}|[^\]'\"])*\]|\{{(?:{_TEXT}|[^}}'\"])*\}}|True|False|None|\.\.\.|-?\d+(?:\.\d+)?(?![\w×])"
_TOKENS = re.compile(
    rf"(?P<leading>^[a-z_]+(?=[:,] ))"
    rf"|(?P<text>(?<!\w)(?:{_TEXT})|\w+\([^()]*\))"  # a name of the user's, or a part of the model
    rf"|(?<![\w./-])(?P<assigned>[a-z]\w*)=(?P<value>{_VALUE})"
    # A name with an underscore is no word of English.
    rf"|(?<![\w./-])(?P<name>[a-z]+(?:_[a-z0-9]+)+)(?![\w/(]|\.\w)"
)


@contextmanager
def as_typed(options: Sequence[Option]) -> Iterator[None]:
    """Turn an error inside a ``with`` block into a `UsageError` that names arguments as they are typed.

    Args:
        options: The options whose values the block uses.
    """
    try:
        yield
    except (ValueError, TypeError, FileNotFoundError, FileExistsError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the operating system, not of this project
            raise
        raise UsageError(spelled(str(error), options)) from error


def spelled(sentence: str, options: Sequence[Option]) -> str:
    """Return a sentence with the names of arguments as options, and values assigned to them as a shell reads them.

    Args:
        sentence: An error message that names arguments as Python does.
        options: The options. Of those with the same last part the one with the fewest parts is meant; if there are
            several, the name stays as it is.
    """

    def replaced(match: re.Match[str]) -> str:
        if match["text"]:
            return match[0]
        name = match["leading"] or match["assigned"] or match["name"]
        option = _option(name, options)
        if match["assigned"] and option != name:
            return f"{option}={_in_shell(match['value'])}"
        return option if option != name else match[0]

    return _TOKENS.sub(replaced, sentence)


def _option(name: str, options: Sequence[Option]) -> str:
    paths = sorted({option.path for option in options if option_name(option.path) == name}, key=_depth)
    is_clear = len(paths) == 1 or (len(paths) > 1 and _depth(paths[0]) < _depth(paths[1]))
    return paths[0] if is_clear else name


def _depth(path: str) -> int:
    return path.count(".")


def _in_shell(value: str) -> str:
    """Return a Python literal as a word of a shell that the command line reads as the same value."""
    if value == "...":
        return value
    written = yaml.safe_dump(ast.literal_eval(value), default_flow_style=True, width=10**6, allow_unicode=True)
    written = written.removesuffix("...\n").strip()
    # An apostrophe would end the text for the shell.
    return shlex.quote(json.dumps(ast.literal_eval(value), ensure_ascii=False) if "'" in written else written)
