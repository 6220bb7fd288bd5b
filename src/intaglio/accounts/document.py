"""Reading rules out of a policy document: each is converted and checked, and its faults are noted under its path."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

import msgspec

from intaglio.accounts.rules import MOST_ELEMENTS, Fault, Faults, ListRule, StringRule
from intaglio.accounts.typed import TypedRule
from intaglio.pki import text

R = TypeVar("R")


class Document:
    """A policy document, and what was found wrong with it so far."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.faults = Faults()

    def branch(self, key: str, known: AbstractSet[str]) -> dict[str, Any]:
        """Return a branch; fields that are not `known` are faults."""
        branch = self.content.get(key, {})
        if not isinstance(branch, dict):
            self.faults.refuse(key, "must be an object")
            return {}
        for field in sorted(set(branch) - known):
            self.faults.refuse(f"{key}.{field}", "is not known")
        return branch

    def rule(self, value: Any, kind: type[R], path: str) -> R | None:
        """Return a value as a rule of a kind, or None after noting why it is none."""
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self.faults.refuse(path, str(error))
        except UnicodeEncodeError:
            self.faults.refuse(path, "has half a surrogate pair in a text")
        return None

    def own(self, key: str, kind: type[R]) -> R | None:
        """Return the rule of a branch that is one, or None where the document has none."""
        return self.rule(self.content[key], kind, key) if key in self.content else None

    def strings(self, branch: dict[str, Any], path: str, fields: Mapping[str, Fault]) -> dict[str, StringRule]:
        """Return the rules of strings."""
        return self._rules(branch, path, fields, StringRule)

    def lists(self, branch: dict[str, Any], path: str, fields: Mapping[str, Fault]) -> dict[str, ListRule]:
        """Return the rules of lists."""
        return self._rules(branch, path, fields, ListRule)

    def typed(self, branch: dict[str, Any], path: str, field: str) -> dict[str, TypedRule]:
        """Return the rules of a typed map."""

        def check(_oid: str, rule: TypedRule, here: str) -> None:
            rule.check(here, self.faults)

        return self.by_oid(branch.get(field, {}), path, TypedRule, check)

    def by_oid(self, rules: Any, path: str, kind: type[R], check: Callable[[str, R, str], None]) -> dict[str, R]:
        """Return rules keyed by object identifier; `check` is given identifier, rule and path of each."""
        if not isinstance(rules, dict):
            self.faults.refuse(path, "must be an object keyed by object identifier")
            return {}
        found: dict[str, R] = {}
        for oid, value in rules.items():
            here = f"{path}.{oid}"
            self.faults.refuse(here, text.fault_of_oid(oid))
            rule = self.rule(value, kind, here)
            if rule is not None:
                check(oid, rule, here)
                found[oid] = rule
        if len(found) > MOST_ELEMENTS:
            self.faults.refuse(path, f"at most {MOST_ELEMENTS} object identifiers can have a rule")
        return found

    def _rules(self, branch: dict[str, Any], path: str, fields: Mapping[str, Fault], kind: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field, fault in fields.items():
            if field in branch:
                rule = self.rule(branch[field], kind, f"{path}.{field}")
                if rule is not None:
                    rule.check(f"{path}.{field}", self.faults, fault)
                    found[field] = rule
        return found
