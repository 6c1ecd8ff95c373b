"""What of the children's logs reaches the terminal of `tokentail up`."""

from __future__ import annotations

import pytest

from tokentail.stack.log_line import alarm_in


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            '{"event": "lease lost", "job": "job_1", "level": "warning", "timestamp": "2025-01-01"}',
            "warning: lease lost job=job_1",
        ),
        ('{"event": "boom", "level": "error", "exception": "Traceback ..."}', "error: boom"),
        ("ERROR Task was destroyed but it is pending!", "ERROR Task was destroyed but it is pending!"),
        ("WARNING:  Invalid HTTP request received.", "WARNING:  Invalid HTTP request received."),
        ('{"event": "an attempt ended", "level": "info", "code": "provider_error"}', None),
        ("worker host:1:abc ready", None),
        ("{not json: error", None),
        ("", None),
    ],
)
def test_warnings_are_shown_readably_and_the_rest_is_not(line: str, shown: str | None) -> None:
    assert alarm_in(line) == shown
