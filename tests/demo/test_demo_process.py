"""The demo provider as a process: how it starts, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time

import httpx
import pytest
from demo_client import Provider, start, stop
from processes import TOKENTAIL


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert re.fullmatch(r"demo provider on http://127\.0\.0\.1:[0-9]+\n", line)
    return line.split()[-1]


async def test_it_prints_one_line_once_it_accepts() -> None:
    process = start()
    try:
        # Given its line
        url = address(process)
        # When it is called
        async with httpx.AsyncClient(base_url=url, verify=False) as http:
            # Then it answers
            assert (await http.get("/v1/models")).status_code == 200
    finally:
        printed, complaints = stop(process)
    # And that line was all
    assert (printed, complaints) == ("", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_promptly_although_a_stream_is_open(number: signal.Signals) -> None:
    process = start()
    try:
        async with httpx.AsyncClient(base_url=address(process), verify=False) as http:
            provider = Provider("", http)
            async with provider.streaming("hang") as response:
                # Given an open stream
                assert response.status_code == 200
                # When the signal comes
                sent = time.monotonic()
                process.send_signal(number)
                # Then the process ends well, soon
                assert process.wait(timeout=5) == 0
                assert time.monotonic() - sent < 2
    finally:
        _, complaints = stop(process)
    assert complaints == ""


def test_a_taken_port_is_told_in_a_sentence() -> None:
    # Given a port that somebody else has
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # When the provider is started on it
        command = [TOKENTAIL, "demo-provider", "--port", str(port)]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    # Then it says so and gives up
    assert said.returncode == 2
    assert said.stdout == ""
    assert said.stderr == f"tokentail: Port {port} on 127.0.0.1 is taken; choose another with --port.\n"
