"""A primary, its replicas and the sentinels that look after them: real processes on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from processes import REDIS_BINARY, Running, until

from tokentail.stack.address import reserve_port
from tokentail.stack.redis_binary import find_redis
from tokentail.stack.redis_server import RedisServer

#: What the sentinels call the primary.
NAME = "mymaster"

#: Silence after which a sentinel calls a server down. As short as two busy cores allow.
DOWN_MS = 1000
#: Upper bound of one failover; a failed one is tried again after twice this.
FAILOVER_MS = 5000


class Sentineled:
    """One primary with replicas, watched by three sentinels of which two decide.

    `primary` and `replicas` are what they were at the start; who leads now is asked with `leader`.
    """

    def __init__(self, directory: Path, *, replicas: int = 1, sentinels: int = 3) -> None:
        self._binary = find_redis(REDIS_BINARY).path
        self._directory = directory
        self.servers = [self._server(f"server-{number}") for number in range(1 + replicas)]
        self.primary, *self.replicas = self.servers
        self.sentinels: dict[int, Running] = {}
        self._ports = [reserve_port("127.0.0.1", 0) for _ in range(sentinels)]

    def start(self) -> Sentineled:
        """Start everything; returns when the sentinels know each other and each replica is up to date."""
        for server in self.servers:
            server.start()
        for replica in self.replicas:
            self._follow(replica, self.primary)
        until(lambda: self._online(self.primary) == len(self.replicas), "the replicas follow")
        for port in self._ports:
            self.start_sentinel(port)
        until(self._all_known, "the sentinels know each other and the replicas")
        return self

    def close(self) -> None:
        """End every process, stopped ones too."""
        for sentinel in self.sentinels.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(sentinel.pid, signal.SIGCONT)
            sentinel.close()
        for server in self.servers:
            if server.running:
                os.kill(server.pid, signal.SIGCONT)
            server.kill()

    @property
    def url(self) -> str:
        """How tokentail finds the primary."""
        return self.url_of_database(0)

    def url_of_database(self, number: int) -> str:
        """How an installation of its own finds the primary."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"redis+sentinel://{hosts}/{NAME}/{number}"

    def start_sentinel(self, port: int) -> Running:
        """Start one sentinel as if for the first time."""
        config = self._directory / f"sentinel-{port}.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._directory}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {port_of(self.primary)} {len(self._ports) // 2 + 1}\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_MS}\n"
            f"sentinel failover-timeout {NAME} {FAILOVER_MS}\n"
        )
        sentinel = Running([str(self._binary), str(config), "--sentinel"])
        sentinel.wait_for(r"\+monitor master")
        self.sentinels[port] = sentinel
        return sentinel

    # What goes wrong

    def fail_over(self) -> None:
        """Ask for a failover while all is well, as an operator does."""
        with self.ask_sentinel() as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", NAME)

    def cut_replication(self) -> None:
        """Let no replica get what the primary writes from now on. The sentinels still see them all."""
        for server in self.servers:
            if server is not self.leader():
                with client_of(server) as client:
                    client.execute_command("REPLICAOF", "127.0.0.1", 1)
                until(lambda server=server: self._link(server) == "down", "replication is cut")

    def mend(self) -> None:
        """After a failover: every server runs, and follows the one that leads."""
        # A sentinel that is still at it when the next one begins, of a server that it thinks is a replica,
        # may never come out of it.
        until(self._have_switched, "the failover is over for all sentinels")
        leader = self.leader()
        for server in self.servers:
            if server is not leader:
                # As its own configuration would tell it, which sentinels write. Left alone it would first
                # think itself primary, until they tell it again after some ten seconds.
                server.start()
                os.kill(server.pid, signal.SIGCONT)
                self._follow(server, leader)
        until(lambda: self._online(leader) == len(self.replicas), "the replicas follow")

    def until_another_leads(self, than: RedisServer) -> RedisServer:
        """Wait for a failover to be over, for all sentinels; who leads now."""
        try:
            until(
                lambda: all(self._named(port) not in (None, port_of(than)) for port in self._alive()),
                "the sentinels agree on another primary",
            )
        except AssertionError as never:
            logs = ["\n".join(sentinel.lines[-40:]) for sentinel in self.sentinels.values()]
            raise AssertionError("\n\n".join([str(never), *logs])) from None
        return self.leader()

    def until_follows(self, server: RedisServer) -> None:
        """Wait until a server is a replica, up to date."""
        until(lambda: self._link(server) == "up", "the server is a replica")

    # Asking

    def leader(self) -> RedisServer:
        """Who leads by what the first sentinel that lives says."""
        named = self._named(self._alive()[0])
        return next(server for server in self.servers if port_of(server) == named)

    @contextlib.contextmanager
    def ask_sentinel(self, port: int | None = None) -> Iterator[Any]:
        """A client of a sentinel."""
        with redis.Redis(port=port or self._alive()[0], socket_timeout=5, decode_responses=True) as client:
            yield client

    def _alive(self) -> list[int]:
        return [port for port, sentinel in self.sentinels.items() if sentinel.process.poll() is None]

    def _named(self, port: int) -> int | None:
        with self.ask_sentinel(port) as sentinel:
            address = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return int(address[1]) if address else None

    def _have_switched(self) -> bool:
        named = {self._settled(port) for port in self._alive()}
        return len(named) == 1 and 0 not in named

    def _settled(self, port: int) -> int:
        """Whom a sentinel that is not just making another one calls the primary; 0 if it is."""
        with self.ask_sentinel(port) as sentinel:
            told = sentinel.sentinel_master(NAME)
        return 0 if "failover_in_progress" in told["flags"] else int(told["port"])

    def _all_known(self) -> bool:
        return all(self._knows_all(port) for port in self._ports)

    def _knows_all(self, port: int) -> bool:
        with self.ask_sentinel(port) as sentinel:
            others = sentinel.execute_command("SENTINEL", "SENTINELS", NAME)
            replicas = sentinel.execute_command("SENTINEL", "REPLICAS", NAME)
        return (
            len(others) == len(self._ports) - 1
            and len(replicas) == len(self.replicas)
            and all("master-link-status" in replica and _flags(replica) == ["slave"] for replica in replicas)
        )

    # Servers

    def _server(self, name: str) -> RedisServer:
        return RedisServer(self._directory / name, port=0, binary=self._binary)

    def _follow(self, replica: RedisServer, primary: RedisServer) -> None:
        for server in (replica, primary):
            with client_of(server) as client:
                # Or a replica waits five seconds for others that might want the same.
                client.config_set("repl-diskless-sync-delay", 0)
        with client_of(replica) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", port_of(primary))

    def _online(self, server: RedisServer) -> int:
        with client_of(server) as client:
            told = client.info("replication")
        states = (
            value for name, value in told.items() if name.startswith("slave") and isinstance(value, dict)
        )
        return sum(state["state"] == "online" for state in states)

    def _link(self, server: RedisServer) -> str:
        """Whether a replica is connected to its primary: up or down; empty for what is no replica."""
        try:
            with client_of(server) as client:
                return str(client.info("replication").get("master_link_status", ""))
        except redis.RedisError:
            return ""


def client_of(server: RedisServer) -> Any:
    """A client of exactly this server, whatever its role."""
    return redis.Redis.from_url(server.url, socket_timeout=5, decode_responses=True)


def port_of(server: RedisServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def _flags(replica: Any) -> list[str]:
    # The reply is a list of names and values; a mapping where the driver knows the command.
    told = replica if isinstance(replica, dict) else dict(zip(replica[::2], replica[1::2], strict=True))
    return str(told["flags"]).split(",")
