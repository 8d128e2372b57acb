"""Reading YAML files safely, also of unknown origin, as plain values."""

from pathlib import Path

import yaml

_MOST_BYTES = 10**6
_MOST_VALUES = 10**5
_DEEPEST = 100
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}


def read_yaml(path: str | Path, argument: str, *, as_text: bool = False) -> object:
    """Read a YAML file of text, numbers, booleans, nulls, lists and mappings.

    No other objects are constructed. An alias counts each time that it is used: a few hundred bytes of nested aliases
    could expand to more values than fit into memory.

    Args:
        path: An existing file.
        argument: The name of the file in error messages.
        as_text: Whether ``no``, ``null``, 010 and 1.0 are read as text, as for names.

    Raises:
        ValueError: If it is not such a file, or is larger than a megabyte, 100,000 values or 100 levels.
    """
    with Path(path).open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{argument}: expected at most {_MOST_BYTES // 10**6} MB of YAML; got more in {str(path)!r}.")
    try:
        loader = _PlainLoader(content.decode("utf-8-sig"), as_text)
        node = loader.get_single_node()
        return None if node is None else loader.construct_document(node)
    except _RefusedError as error:
        raise ValueError(f"{argument}: {error} in {str(path)!r}.") from error
    # PyYAML's constructors raise various exceptions, for example for "!!int" without digits.
    except (yaml.YAMLError, ValueError, LookupError) as error:
        raise ValueError(
            f"{argument}: expected a YAML file; got {str(path)!r}, which cannot be read as that."
        ) from error


class _RefusedError(Exception):
    """A file that is not read, with the reason."""


class _PlainLoader(yaml.SafeLoader):
    """Refuses values that are not plain, too deep or too many, before any of them is constructed."""

    def __init__(self, text: str, as_text: bool) -> None:
        super().__init__(text)
        if as_text:
            self.yaml_implicit_resolvers = {}
        self._depth = 0
        self._values: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        """Compose a node and count its values, with its aliases expanded."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _RefusedError(f"expected at most {_DEEPEST} levels of lists and mappings; got more")
        is_alias = self.check_event(yaml.AliasEvent)
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]
        self._depth -= 1
        if is_alias and id(node) not in self._values:
            raise _RefusedError("expected finite values; got one that contains itself")
        if node is not None and not is_alias:
            self._values[id(node)] = self._count(node)
        return node

    def _count(self, node: yaml.Node) -> int:
        if node.tag not in _PLAIN:
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            raise _RefusedError(f"expected text, numbers, lists and mappings; got {kind!r}")
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
        number = 1 + sum(self._values[id(part)] for part in parts)
        if max(number, len(self._values)) > _MOST_VALUES:
            raise _RefusedError(f"expected at most {_MOST_VALUES:,} values; got more")
        return number
