"""A real Redis server of our own: private, durable, and gone when we are."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import redis

from tokentail.shared.errors import ConfigError
from tokentail.stack.leash import leashed
from tokentail.stack.redis_binary import RedisBinary, find_redis

#: How long a new server may take to open its socket. Loading its data is not counted: it answers meanwhile.
SILENT_SECONDS = 15.0
#: How long SIGTERM may take. Redis only writes out what is buffered.
STOP_SECONDS = 10.0
#: Half of what a busy machine needs to start a server; the wait is over at most this late.
POLL_SECONDS = 0.01
#: sun_path holds 104 bytes on the smallest system we meet, with its closing zero.
LONGEST_SOCKET_PATH = 100

_URL_FILE = "url"


def embedded_url(directory: Path) -> str | None:
    """Where the server that was last started on this directory listens, if one ever was."""
    try:
        return (directory / _URL_FILE).read_text()
    except OSError:
        return None


class RedisServer:
    """One redis-server process on one directory.

    The directory holds everything: data, log, lock, socket. A server started on it again has the same data.
    `start`, `stop` and `kill` may be called in any order and any number of times. Without `port` it listens
    on a unix socket only; with one (0 = a free one, kept for later starts) on loopback only.

    The process is ended with ours, however ours ends, so `start` belongs in a thread that lives as long.
    """

    def __init__(self, directory: Path, *, port: int | None = None, binary: Path | None = None) -> None:
        self.directory = directory.absolute()
        self.log_path = self.directory / "redis.log"
        self._wanted_port = port
        self._port: int | None = None
        self._binary_path = binary
        self._socket: Path | None = None
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens; the same after each start of this object."""
        if self._port is not None:
            return f"redis://127.0.0.1:{self._port}/0"
        if self._socket is not None:
            return f"unix://{self._socket}?db=0"
        raise RuntimeError("The server has not been started yet.")

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise RuntimeError("The server is not running.")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> RedisServer:
        """Start it and wait until it answers, its data loaded. Nothing happens if it runs.

        Raises ConfigError if there is no usable server program, if the directory is in use, or if the
        server ends by itself; the text says why.
        """
        self.spawn()
        self.wait_ready()
        return self

    def lock(self) -> IO[str]:
        """Reserve the directory. Raises ConfigError while another server, here or elsewhere, works on it,
        and when it can't be written."""
        if self._lock is not None:
            return self._lock
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.directory.chmod(0o700)
            lock = (self.directory / "lock").open("a")
        except OSError as error:
            raise ConfigError(f"{self.directory} can't be used for data: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigError(
                f"{self.directory} is in use by another running tokentail stack; "
                "stop that one, or choose another directory with --data."
            ) from None
        self._lock = lock
        return lock

    def spawn(self) -> None:
        """The first half of `start`, for callers that wait elsewhere: everything but the waiting."""
        if self.running:
            return
        binary = find_redis(self._binary_path)
        self._refuse_newer_data(binary)
        lock = self.lock()
        self._choose_address()
        (self.directory / _URL_FILE).write_text(self.url)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                leashed([str(binary.path), *self._options()]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A server needs nothing of our environment, least of all the keys in it.
                env={"PATH": os.defpath},
                # The server holds the lock too, so it is free only when both of us are gone.
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """The second half of `start`."""
        client = redis.Redis.from_url(self.url, socket_timeout=1, retry=None)
        deadline = time.monotonic() + SILENT_SECONDS
        try:
            while True:
                if not self.running:
                    raise ConfigError(f"Redis ended while starting: {self._last_words()}")
                try:
                    if client.ping() and self._is_ours(client):
                        return
                except redis.BusyLoadingError:
                    deadline = time.monotonic() + SILENT_SECONDS
                except (redis.ConnectionError, redis.TimeoutError):
                    pass
                if time.monotonic() > deadline:
                    self.kill()
                    raise ConfigError(
                        f"Redis did not answer within {SILENT_SECONDS:.0f} s: see {self.log_path}."
                    )
                time.sleep(POLL_SECONDS)
        finally:
            client.close()

    def _is_ours(self, client: redis.Redis) -> bool:
        # A foreign server on the port answers before ours has found it taken.
        server: Any = client.info("server")
        return bool(server["process_id"] == self.pid)

    def stop(self) -> None:
        """End it cleanly, everything on disk, and free the directory; by force if it takes too long."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._gone()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None and self.running:
            self._process.kill()
        self._gone()

    def _gone(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _options(self) -> list[str]:
        options = {
            "dir": str(self.directory),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",  # The append-only file has everything; snapshots would only cost time.
            "maxmemory-policy": "noeviction",
            "port": str(self._port or 0),
            "bind": "127.0.0.1",
        }
        if self._socket is not None:
            options |= {"unixsocket": str(self._socket), "unixsocketperm": "700"}
        # Given no file, Redis reads none: whatever the system's redis.conf says, it does not reach us.
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _choose_address(self) -> None:
        if self._port is not None or self._socket is not None:
            return
        if self._wanted_port is not None:
            self._port = self._wanted_port or _free_port()
            return
        self._socket = self.directory / "redis.sock"
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET_PATH:
            self._socket = Path(tempfile.mkdtemp(prefix="tokentail-")) / "redis.sock"

    def _refuse_newer_data(self, binary: RedisBinary) -> None:
        # Redis 6 looks for another file name than 7 and would start empty without a word.
        if binary.version < (7, 0, 0) and (self.directory / "appendonlydir").exists():
            raise ConfigError(
                f"{self.directory} was written by Redis 7 or later; "
                f"{binary.path} is {binary.version_text} and would not find the data."
            )

    def _last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1].strip() if lines else 'it said nothing'} (see {self.log_path})"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
