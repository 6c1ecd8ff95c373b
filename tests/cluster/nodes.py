"""A cluster of real Redis processes on loopback, made and broken by commands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import redis
from node import Node
from processes import REDIS_BINARY, until
from redis.crc import key_slot
from slot_move import SlotMove

from tokentail.shared import job, keys
from tokentail.shared.slots import SLOTS
from tokentail.stack.redis_binary import find_redis


class Nodes:
    """Primaries that share all slots evenly, and replicas of the first ones. `spare` nodes hold no slot."""

    def __init__(
        self,
        directory: Path,
        *,
        primaries: int = 3,
        replicas: int = 0,
        spare: int = 0,
    ) -> None:
        path = find_redis(REDIS_BINARY).path
        self.all = [Node(directory / f"node-{n}", path) for n in range(primaries + replicas + spare)]
        self.primaries = self.all[:primaries]
        self.replicas = self.all[primaries : primaries + replicas]
        self.spare = self.all[primaries + replicas :]

    def start(self) -> Nodes:
        """Start and join them; returns when each says that all is well."""
        for number, node in enumerate(self.all, 1):
            node.start()
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number)
        for number, node in enumerate(self.primaries):
            first, last = (SLOTS * n // len(self.primaries) for n in (number, number + 1))
            node.client.execute_command("CLUSTER", "ADDSLOTS", *range(first, last))
        for node in self.all[1:]:
            node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.all[0].port)
        self.until_well()
        for replica, primary in zip(self.replicas, self.primaries, strict=False):
            replica.client.execute_command("CLUSTER", "REPLICATE", primary.id)
        for replica in self.replicas:
            until(
                lambda r=replica: r.client.info("replication").get("master_link_status") == "up", "it follows"
            )
        until(lambda: all(self._knows_roles(node) for node in self.all), "everybody knows who follows whom")
        return self

    def _knows_roles(self, node: Node) -> bool:
        lines = node.client.execute_command("CLUSTER", "NODES").decode().splitlines()
        return sum("slave" in line.split()[2] for line in lines) == len(self.replicas)

    def until_well(self) -> None:
        """Wait until every node that runs says that all slots are served."""
        try:
            until(
                lambda: all(self._is_well(node) for node in self.all if node.process), "the cluster is well"
            )
        except AssertionError as error:
            for node in self.all:
                with contextlib.suppress(redis.RedisError):
                    error.add_note(
                        f"{node.name}:\n{node.client.execute_command('CLUSTER', 'NODES').decode()}"
                    )
            raise

    def _is_well(self, node: Node) -> bool:
        try:
            info = node.info()
        except redis.RedisError:
            return False
        return (
            info["cluster_state"] == "ok"
            and info["cluster_slots_ok"] == str(SLOTS)
            and info["cluster_known_nodes"] == str(len(self.all))
        )

    def until_agreed(self) -> None:
        """Wait until all nodes have heard of the last move. A slot that moves on before that may be taken
        back by whoever had it before, as of a higher epoch, and is lost then with all that is in it."""
        until(lambda: len({_claims(node) for node in self.all if node.process}) == 1, "all nodes agree")

    def close(self) -> None:
        for node in self.all:
            node.close()

    @property
    def url(self) -> str:
        """How tokentail finds it: two nodes, of which it learns the others."""
        return "redis+cluster://" + ",".join(node.name for node in self.primaries[:2])

    def forget_everything(self) -> None:
        for node in self.primaries:
            node.client.flushall()

    def free_the_spare(self) -> None:
        """A node that has given its last slot away has become a replica; make it one without slots again."""
        for node in self.spare:
            if node.client.info("replication")["role"] != "master":
                node.client.execute_command("CLUSTER", "RESET", "SOFT")
                node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.all[0].port)
        self.until_well()

    def cut_off(self, replica: Node, primary: Node) -> None:
        """Let a replica have what its primary has now, and nothing that comes later."""
        until(lambda: _offset(replica, "slave") == _offset(primary, "master"), "level")
        # In a cluster nobody can be told to follow nobody; but it can be kept from being let in again.
        replica.client.config_set("masteruser", "nobody")
        replica.client.config_set("masterauth", "wrong")
        primary.client.client_kill_filter(_type="slave")
        until(lambda: replica.client.info("replication")["master_link_status"] == "down", "it is cut off")

    # Asking

    def holder(self, key: str) -> Node:
        """Who holds a key's slot, by what the nodes say themselves."""
        for node in self.all:
            if node.is_frozen:
                continue
            try:
                node.client.exists(key)
            except redis.ResponseError as refusal:
                if str(refusal).startswith("ASK "):
                    return node
            except redis.RedisError:
                continue
            else:
                return node
        raise AssertionError(f"nobody serves {key}")

    def entries(self, key: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """A stream, wherever it is."""
        return self.holder(key).client.xrange(key)  # type: ignore[no-any-return]

    def moves_told(self) -> int:
        """How often somebody was sent on for good, by all nodes together."""
        stats = [node.client.info("errorstats").get("errorstat_MOVED") for node in self.all]
        return sum(stat["count"] for stat in stats if stat)

    def job_at(self, node: Node) -> str:
        """A new job whose log a node holds."""
        while True:
            job_id = job.new_id()
            with contextlib.suppress(redis.ResponseError):
                node.client.exists(keys.log(job_id))
                return job_id

    # Moving a slot

    @contextlib.contextmanager
    def on_its_way(self, key: str, to: Node) -> Iterator[SlotMove]:
        """A slot that is moved within the block, and back at the end."""
        home = self.holder(key)
        move = self.moving(key, to)
        try:
            yield move
        finally:
            if self.holder(key) is home:
                move.cancel()
            else:
                self.moving(key, home).begin().finish()
            self.until_well()

    @contextlib.contextmanager
    def orphaned(self, key: str) -> Iterator[int]:
        """A slot that no node holds within the block."""
        home, slot = self.holder(key), key_slot(key.encode())
        for node in self.all:
            node.client.execute_command("CLUSTER", "DELSLOTS", slot)
        try:
            yield slot
        finally:
            home.client.execute_command("CLUSTER", "ADDSLOTS", slot)
            self.until_well()

    def moving(self, key: str, to: Node) -> SlotMove:
        return SlotMove(self, key_slot(key.encode()), self.holder(key), to)


def _claims(node: Node) -> frozenset[tuple[str, ...]]:
    """Who holds which slots since which epoch, as this node knows it."""
    lines = node.client.execute_command("CLUSTER", "NODES").decode().splitlines()
    held = [[words[0], words[6], *words[8:]] for words in map(str.split, lines)]
    # Slots on their way are told by their source only.
    claims = [tuple(word for word in words if "[" not in word) for words in held]
    return frozenset(claim for claim in claims if len(claim) > 2)


def _offset(node: Node, role: str) -> int:
    return int(node.client.info("replication")[f"{role}_repl_offset"])


def in_partition(partition: int) -> Iterator[str]:
    """New job ids whose logs are in a partition."""
    while True:
        job_id = job.new_id()
        if keys.log_partition(job_id) == partition:
            yield job_id
