"""What the pool relies on in arq 0.28: an upgrade that changes it must fail here, not in production."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import arq.worker
import orjson
import pytest
from arq.connections import ArqRedis
from arq.jobs import deserialize_job_raw, serialize_job
from arq.worker import Worker, func

from tokentail.worker.pool import Pool


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_version_is_the_one_these_facts_were_read_from() -> None:
    assert version("arq") == "0.28.0"


@pytest.mark.parametrize(
    ("name", "names", "is_async"),
    [
        ("async_run", ["self"], True),
        ("main", ["self"], True),
        ("_poll_iteration", ["self"], True),
        ("close", ["self"], True),
        ("handle_sig", ["self", "signum"], False),
        ("_add_signal_handler", ["self", "signum", "handler"], False),
    ],
)
def test_what_is_used_or_overridden_has_its_name_and_shape(
    name: str, names: list[str], is_async: bool
) -> None:
    method = getattr(Worker, name)
    assert parameters(method) == names
    assert inspect.iscoroutinefunction(method) == is_async


@pytest.mark.parametrize("name", ["main", "_poll_iteration", "handle_sig", "close"])
def test_what_the_pool_overrides_exists_to_be_overridden(name: str) -> None:
    assert name in vars(Pool)
    assert name in vars(Worker)
    assert parameters(getattr(Pool, name)) == parameters(getattr(Worker, name))


def test_the_pool_replaces_nothing_of_arqs_by_accident() -> None:
    ours = {name for name in vars(Pool) if not name.startswith("__")}
    assert ours & {name for base in Worker.__mro__[:-1] for name in vars(base)} == {
        "main",
        "_poll_iteration",
        "handle_sig",
        "close",
    }


def test_the_worker_takes_the_arguments_that_the_pool_gives() -> None:
    assert {
        "functions",
        "redis_pool",
        "max_jobs",
        "poll_delay",
        "job_serializer",
        "job_deserializer",
        "handle_signals",
    } <= set(parameters(Worker.__init__))


def test_the_worker_has_the_attributes_that_the_pool_uses() -> None:
    source = inspect.getsource(Worker.__init__)
    for name in (
        "functions",
        "tasks",
        "max_jobs",
        "main_task",
        "allow_pick_jobs",
        "loop",
        "ctx",
        "job_deserializer",
    ):
        assert f"self.{name}" in source


def test_the_main_loop_that_is_replaced_does_nothing_but_greet_start_up_and_iterate() -> None:
    # Read once by a person: anything new in it deserves another look.
    assert "self.main()" in inspect.getsource(Worker.async_run)
    lines = [line.strip() for line in inspect.getsource(Worker.main).splitlines()]
    assert "await self.on_startup(self.ctx)" in lines
    assert "async for _ in poll(self.poll_delay_s):" in lines
    assert "await self._poll_iteration()" in lines
    awaited = [line for line in lines if "await " in line]
    assert len(awaited) == 7


async def test_a_poll_delay_of_zero_does_not_wait() -> None:
    turns = 0
    async for _ in arq.worker.poll(0.0):
        turns += 1
        if turns == 1000:
            break
    assert turns == 1000


def test_the_registry_keeps_name_and_coroutine() -> None:
    async def work(ctx: Any) -> None: ...

    registered = func(work, name="generate")
    assert (registered.name, registered.coroutine) == ("generate", work)


def test_the_envelope_is_json_with_our_serializers() -> None:
    raw = serialize_job("generate", ("job_1",), {}, None, 0, serializer=orjson.dumps)
    assert orjson.loads(raw).keys() == {"t", "f", "a", "k", "et"}
    name, args, kwargs, _, _ = deserialize_job_raw(raw, deserializer=orjson.loads)
    assert (name, list(args), kwargs) == ("generate", ["job_1"], {})


def test_a_pool_of_ours_can_be_given_to_arq() -> None:
    assert parameters(ArqRedis.__init__)[:4] == ["self", "pool_or_conn", "job_serializer", "job_deserializer"]
