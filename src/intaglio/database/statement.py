"""Statements of the hot paths: compiled once for each dialect, and handed to the driver as they are.

SQLAlchemy looks up, expands and converts each time what never changes; for a statement that is run for every signature
that is two thirds of its cost. Errors, transactions and dialects stay SQLAlchemy's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Dialect
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.selectable import Select


def storable(sent: str) -> str:
    """Return what somebody sent as a text that a database can look for: none holds NUL, and PostgreSQL takes none."""
    return sent.replace("\0", "\ufffd")


class _Place(NamedTuple):
    """What stands at one place of the driver's parameters: a named value of each row, or a constant."""

    name: str | None
    constant: Any
    convert: Callable[[Any], Any] | None


class _Compiled(NamedTuple):
    """A statement as the driver takes it; `names` are those of its parameters where they have names, not places.

    `together` is an INSERT of many rows at once, each column an array.
    """

    sql: str
    places: list[_Place]
    names: list[str] | None
    together: str | None = None


class Statement:
    """A statement with named parameters; for an INSERT, `columns` are those that each row has a value for.

    Results come as the driver gives them, and `IN` takes no list: it is for what needs neither.
    """

    def __init__(self, statement: Insert | Update | Select[Any], columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        # By the dialect's name: every engine of a kind compiles alike.
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> CursorResult[Any]:
        """Run it for each row of parameters, together; raises what SQLAlchemy raises."""
        found = self._compiled.get(connection.dialect.name)
        if found is None:
            found = self._compiled[connection.dialect.name] = self._compile(connection.dialect)
        values: list[Any] = [
            tuple(
                [
                    constant if name is None else row[name] if convert is None else convert(row[name])
                    for name, constant, convert in found.places
                ]
            )
            for row in rows
        ]
        if found.names is not None:
            if found.together is not None and len(values) > 1:
                columns = map(list, zip(*values, strict=True))
                return connection.exec_driver_sql(found.together, dict(zip(found.names, columns, strict=True)))
            values = [dict(zip(found.names, row, strict=True)) for row in values]
        return connection.exec_driver_sql(found.sql, values if len(values) > 1 else values[0])

    def _compile(self, dialect: Dialect) -> _Compiled:
        columns = None if self._columns is None else list(self._columns)
        compiled: Any = self._statement.compile(dialect=dialect, column_keys=columns)
        if compiled.post_compile_params:
            raise NotImplementedError(f"cannot be compiled once for {dialect.name}: {compiled}")
        if compiled.positiontup is not None:
            places = [self._place(compiled.binds[name], dialect) for name in compiled.positiontup]
            return _Compiled(str(compiled), places, None)
        named = compiled.bind_names
        places, names = [self._place(bind, dialect) for bind in named], list(named.values())
        return _Compiled(str(compiled), places, names, self._together(places, names, dialect))

    def _together(self, places: list[_Place], names: list[str], dialect: Dialect) -> str | None:
        """Return an INSERT from arrays, which costs the driver half of what a row at a time does (PostgreSQL)."""
        if not isinstance(self._statement, Insert) or dialect.name != "postgresql":
            return None
        if [place.name for place in places] != names:
            return None
        table, preparer = self._statement.table, dialect.identifier_preparer
        columns = [table.c[name] for name in names]
        # As octets (%b): a text of each would be twice as long.
        arrays = ", ".join(f"%({column.name})b::{column.type.compile(dialect)}[]" for column in columns)
        inserted = ", ".join(map(preparer.format_column, columns))
        return f"INSERT INTO {preparer.format_table(table)} ({inserted}) SELECT * FROM unnest({arrays})"  # noqa: S608

    def _place(self, bind: Any, dialect: Dialect) -> _Place:
        convert = bind.type.dialect_impl(dialect).bind_processor(dialect)
        if bind.required or (self._columns is not None and bind.key in self._columns):
            return _Place(bind.key, None, convert)
        value = bind.effective_value
        return _Place(None, value if convert is None else convert(value), None)
