"""Clusters: one that is shared and whole after each test, and new ones for tests that break them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from following import tails_at
from nodes import Nodes
from pens import Desk, desk_at

from tokentail.api.tails import Tails
from tokentail.shared.cluster import Cluster


@pytest.fixture(scope="session")
def shared_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = Nodes(tmp_path_factory.mktemp("cluster"), spare=1)
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def nodes(shared_nodes: Nodes) -> Iterator[Nodes]:
    """Three primaries, empty, and a node without slots. Who moves a slot moves it back."""
    shared_nodes.forget_everything()
    yield shared_nodes
    shared_nodes.free_the_spare()


@pytest.fixture
async def plane(nodes: Nodes) -> AsyncIterator[Cluster]:
    """A client of the shared cluster."""
    async with Cluster(nodes.url) as made:
        yield made


@pytest.fixture
async def at(nodes: Nodes) -> AsyncIterator[Desk]:
    """An appender at work on the shared cluster."""
    async with desk_at(nodes) as made:
        yield made


@pytest.fixture
async def tails(nodes: Nodes) -> AsyncIterator[Tails]:
    """What followers of logs on the shared cluster read from."""
    async with tails_at(nodes.url) as made:
        yield made


@pytest.fixture
def new_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Nodes]]:
    """Makes clusters that belong to one test."""
    made: list[Nodes] = []

    def make(**options: int) -> Nodes:
        made.append(Nodes(tmp_path_factory.mktemp("own-cluster"), **options))
        return made[-1].start()

    yield make
    for nodes in made:
        nodes.close()
