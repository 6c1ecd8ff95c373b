"""What processes log, as whoever collects it finds it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

SPEAKER = """
import structlog
from tokentail.shared import logging
from tokentail.shared.settings import Settings
logging.configure(Settings(), {})
structlog.get_logger().info("first")
structlog.get_logger().info("second")
"""


def test_lines_of_processes_that_share_an_output_do_not_run_together() -> None:
    # Given a process that hands on what it writes at once, as in a container, to where each write is told
    # from the next one
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        subprocess.run([sys.executable, "-u", "-c", SPEAKER], stderr=theirs, check=True, timeout=30)
        theirs.close()
        # Then a write is a line, and nobody else's can come between its end and it
        writes = list(iter(lambda: ours.recv(65536), b""))
    assert all(write.endswith(b"\n") for write in writes)
    assert [json.loads(write)["event"] for write in writes] == ["first", "second"]
