"""One node of a cluster: a real Redis process on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import redis
from processes import Running

#: Silence after which nodes take one of them for dead. As short as two busy cores allow.
NODE_TIMEOUT_MS = 1000
#: Each node is spoken to by the others here.
BUS_OFFSET = 10_000
LAST_PORT = 65_535


class Node:
    """One server of a cluster, which can be killed and started again with what it had stored."""

    def __init__(self, directory: Path, binary: Path) -> None:
        self._directory = directory
        self._binary = binary
        self.port = _free_port()
        self.process: Running | None = None
        self.is_frozen = False
        self.client: Any = redis.Redis(port=self.port, socket_timeout=5)

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def id(self) -> str:
        return str(self.client.execute_command("CLUSTER", "MYID").decode())

    def start(self) -> Node:
        self._directory.mkdir(exist_ok=True)
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._directory,
            "save": "",
            "appendonly": "yes",
            # Nothing that was acknowledged is lost by a crash, so that a test can say what is there then.
            "appendfsync": "always",
            "cluster-enabled": "yes",
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            # Logs of the other nodes go on when one is away.
            "cluster-require-full-coverage": "no",
            "cluster-replica-validity-factor": 0,
            "repl-diskless-sync": "yes",
            "repl-diskless-sync-delay": 0,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.process = Running([str(self._binary), *words])
        self.process.wait_for("Ready to accept connections")
        return self

    def kill(self) -> None:
        """As a crash would."""
        if self.process is not None:
            self.resume()
            self.process.close()

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        self.is_frozen = True

    def resume(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGCONT)
        self.is_frozen = False

    def close(self) -> None:
        self.client.close()
        self.kill()

    def info(self) -> dict[str, str]:
        """What the node says of the cluster."""
        text = self.client.execute_command("CLUSTER", "INFO").decode()
        return dict(line.split(":", 1) for line in text.split())


def _free_port() -> int:
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if port + BUS_OFFSET > LAST_PORT:
                continue
            with contextlib.suppress(OSError):
                bus.bind(("127.0.0.1", port + BUS_OFFSET))
                return port
