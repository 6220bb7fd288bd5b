"""What each fault test counted is told at the end, a line each."""

from collections.abc import Callable

import pytest


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return what tells what a test counted."""
    return lambda text: record_property("counted", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was counted."""
    for report in terminalreporter.stats.get("passed", []):
        for name, text in report.user_properties:
            if name == "counted":
                terminalreporter.write_line(f"{report.nodeid.split('::')[-1]}: {text}")
