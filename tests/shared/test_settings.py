"""Settings come from the environment and are refused with a sentence that names them."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tokentail.shared import redis as store
from tokentail.shared import redis_url
from tokentail.shared.errors import ConfigError
from tokentail.shared.settings import Settings, unknown_variables

SECRET = "hunter2"


def test_without_an_environment_the_documented_defaults_hold() -> None:
    settings = Settings.load()
    assert settings.redis_url == settings.log_url == "redis://127.0.0.1:6379/0"
    assert (settings.concurrency, settings.max_queue, settings.max_attempts) == (20, 10_000, 3)
    assert (settings.log_ttl_seconds, settings.record_ttl_seconds) == (3600, 86_400)
    assert (settings.ping_seconds, settings.stream_seconds, settings.send_seconds) == (15, 600, 20)
    assert settings.models is None


def test_the_environment_is_read_and_an_option_wins_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENTAIL_CONCURRENCY", "3")
    monkeypatch.setenv("TOKENTAIL_MODELS", "/tmp/models.yaml")
    assert Settings.load().concurrency == 3
    assert Settings.load(concurrency=None).concurrency == 3
    assert Settings.load(concurrency=4).concurrency == 4
    assert Settings.load().models == Path("/tmp/models.yaml")


SENTINELS = "redis+sentinel://user:p%40ss@one:26379,two,[::1]:26380/mymaster/2"
CLUSTER = "redis+cluster://:p%40ss@one:7000,two:7001"


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "rediss://user:pass@redis/1",
        "redis://[::1]:6379",
        "unix:///run/redis.sock?db=3&username=me&password=p%40ss",
        "redis://redis?db=3",
        "rediss://redis/1?ssl_ca_certs=/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=true",
        SENTINELS,
        "redis+sentinel://one/mymaster",
        "rediss+sentinel://one,two,three/my.master-1/0?ssl_ca_certs=/ca.pem&sentinel_password=x",
    ],
)
def test_both_planes_may_be_one_server_or_a_primary_behind_sentinels(url: str) -> None:
    assert Settings.load(redis_url=url).redis_url == url
    assert Settings.load(log_redis_url=url).log_url == url


@pytest.mark.parametrize("url", [CLUSTER, "redis+cluster://one", "rediss+cluster://one:1,[::1]:2/0"])
def test_a_cluster_may_hold_the_logs_but_not_the_queue(url: str) -> None:
    assert Settings.load(log_redis_url=url).log_url == url
    with pytest.raises(ConfigError, match=r"^TOKENTAIL_REDIS_URL: .*on one primary.*redis\+sentinel://"):
        Settings.load(redis_url=url)


def test_a_url_of_sentinels_says_who_they_are_and_what_they_look_after() -> None:
    parsed = redis_url.parse_sentinel(f"{SENTINELS}?sentinel_username=watch&sentinel_password=w%26")
    assert parsed.hosts.addresses == (("one", 26379), ("two", 26379), ("::1", 26380))
    assert (parsed.primary, parsed.database) == ("mymaster", 2)
    assert (parsed.hosts.username, parsed.hosts.password) == ("user", "p@ss")
    assert parsed.sentinel_credentials == {"username": "watch", "password": "w&"}
    assert "p@ss" not in repr(parsed)
    assert "w&" not in repr(parsed)


def test_without_their_own_credentials_sentinels_are_not_told_the_primarys() -> None:
    assert redis_url.parse_sentinel(SENTINELS).sentinel_credentials == {}


def test_a_url_of_a_cluster_says_where_to_begin() -> None:
    parsed = redis_url.parse_cluster(CLUSTER)
    assert parsed.addresses == (("one", 7000), ("two", 7001))
    assert (parsed.username, parsed.password, parsed.is_tls) == (None, "p@ss", False)


@pytest.mark.parametrize(
    "url", ["redis://u:hunter2@h/0", "redis+sentinel://u:hunter2@a,b/x?sentinel_password=hunter2"]
)
def test_a_url_is_shown_without_its_secrets(url: str) -> None:
    assert "hunter2" not in redis_url.without_password(url)


def test_the_logs_may_live_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENTAIL_LOG_REDIS_URL", "rediss://logs:6380/1")
    assert Settings.load().log_url == "rediss://logs:6380/1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://127.0.0.1:6379"),
        ("REDIS_URL", "unix://"),
        ("REDIS_URL", "redis://127.0.0.1:many/0"),
        ("REDIS_URL", "redis://127.0.0.1:66666/0"),
        ("REDIS_URL", "redis://[::1/0"),
        ("REDIS_URL", "redis://127.0.0.1:6379/queue"),
        ("REDIS_URL", "redis://127.0.0.1:0/0"),
        ("REDIS_URL", "redis:/0"),
        ("REDIS_URL", "unix:/run/redis.sock"),
        ("REDIS_URL", "unix://redis.sock"),
        ("REDIS_URL", "unix://run/redis.sock"),
        ("REDIS_URL", "unix:///run/redis.sock%00"),
        ("REDIS_URL", "REDIS://127.0.0.1"),
        ("REDIS_URL", "redis://a..b/0"),
        ("REDIS_URL", "redis://a b/0"),
        ("REDIS_URL", "redis://127.0.0.1/0#1"),
        ("REDIS_URL", "redis+sentinel://"),
        ("REDIS_URL", "redis+sentinel:///mymaster"),
        ("REDIS_URL", "redis+sentinel://one"),
        ("REDIS_URL", "redis+sentinel://one,two/"),
        ("REDIS_URL", "redis+sentinel://one,,two/mymaster"),
        ("REDIS_URL", "redis+sentinel://one:0/mymaster"),
        ("REDIS_URL", "redis+sentinel://one:66666/mymaster"),
        ("REDIS_URL", "redis+sentinel://one/mymaster/zero"),
        ("REDIS_URL", "redis+sentinel://one/mymaster?sentinels=two"),
        ("REDIS_URL", "redis+sentinel://one/mymaster#0"),
        ("REDIS_URL", "redis+sentinel://a..b/mymaster"),
        ("LOG_REDIS_URL", "6379"),
        ("LOG_REDIS_URL", "redis+sentinel://one"),
        ("LOG_REDIS_URL", "redis+cluster://one/1"),
        ("LOG_REDIS_URL", "redis+cluster://one:many"),
        ("LOG_REDIS_URL", "redis+cluster://one?sentinel_password=x"),
        ("WAIT_REPLICAS", "-1"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "1001"),
        ("CONCURRENCY", "a few"),
        ("LEASE_SECONDS", "0.4"),
        ("LEASE_SECONDS", "nan"),
        ("LEASE_SECONDS", "inf"),
        ("DRAIN_SECONDS", "-1"),
        ("MAX_ATTEMPTS", "0"),
        ("FIRST_TOKEN_SECONDS", "0"),
        ("IDLE_SECONDS", "-1"),
        ("DEADLINE_SECONDS", "99999999"),
        ("LOG_TTL_SECONDS", "0"),
        ("RECORD_TTL_SECONDS", "soon"),
        ("MAX_QUEUE", "0"),
        ("MAX_REQUEST_BYTES", "10"),
        ("PING_SECONDS", "0"),
        ("STREAM_SECONDS", "0"),
        ("SEND_SECONDS", "0"),
        ("AUTH", "on"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TOKENTAIL_{name}", value)
    with pytest.raises(ConfigError, match=rf"^TOKENTAIL_{name}: .+\.$"):
        Settings.load()


@pytest.mark.parametrize("name", ["REDIS_URL", "LOG_REDIS_URL"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("foo", "1"),
        ("socket_timeout", "abc"),
        ("socket_timeout", "5"),
        ("max_connections", "1"),
        ("protocol", "3"),
        ("db", "x"),
        ("db", ""),
        ("ssl_ca_certs", "/ca.pem"),
        ("ssl_cert_reqs", "perhaps"),
        ("ssl_check_hostname", "perhaps"),
    ],
)
@pytest.mark.parametrize("place", ["{}://127.0.0.1:1/0", "{}+sentinel://127.0.0.1:1/mymaster"])
def test_an_option_that_a_url_can_not_have_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, place: str, option: str, value: str
) -> None:
    # Given a URL with an option that the driver would stumble over, or let win over the bounds that we set
    scheme = "rediss" if value == "perhaps" else "redis"
    monkeypatch.setenv(f"TOKENTAIL_{name}", f"{place.format(scheme)}?{option}={value}")
    # Then the variable is named, and the option where its name could not be a piece of a password
    with pytest.raises(ConfigError, match=rf"^TOKENTAIL_{name}: .*option.*\.$") as refusal:
        Settings.load()
    assert option in str(refusal.value) or not value


def test_no_option_is_known_to_a_cluster_without_tls() -> None:
    with pytest.raises(ConfigError, match="ssl_ca_certs, which needs TLS"):
        Settings.load(log_redis_url="redis+cluster://one?ssl_ca_certs=/ca.pem")
    assert Settings.load(log_redis_url="rediss+cluster://one?ssl_ca_certs=/ca.pem")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    scheme=st.sampled_from(["redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"]),
    rest=st.text(st.sampled_from("ab0:/?=&@.,%[]#- "), max_size=12),
)
def test_of_every_url_that_is_taken_a_client_can_be_made(scheme: str, rest: str) -> None:
    try:
        url = Settings.load(
            redis_url=f"{scheme}://h{rest}" if scheme != "unix" else f"unix:///{rest}"
        ).redis_url
    except ConfigError:
        return
    assert store.pool(url).make_connection()


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENTAIL_CONCURRENCY", "0")
    monkeypatch.setenv("TOKENTAIL_PING_SECONDS", "never")
    with pytest.raises(ConfigError) as refusal:
        Settings.load()
    assert re.findall(r"TOKENTAIL_\w+", str(refusal.value)) == [
        "TOKENTAIL_CONCURRENCY",
        "TOKENTAIL_PING_SECONDS",
    ]
    assert "'0'" in str(refusal.value)


def test_a_record_may_not_go_before_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENTAIL_RECORD_TTL_SECONDS", "10")
    monkeypatch.setenv("TOKENTAIL_LOG_TTL_SECONDS", "11")
    with pytest.raises(ConfigError, match=r"TOKENTAIL_RECORD_TTL_SECONDS .* TOKENTAIL_LOG_TTL_SECONDS"):
        Settings.load()


@pytest.mark.parametrize("name", ["REDIS_URL", "LOG_REDIS_URL"])
@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@redis:6379/0",
        f"redis://user:{SECRET}",
        f"redis://:{SECRET}#x@redis:6379/0",
        f"redis://user:{SECRET}@redis:port/0",
        f"user:{SECRET}@redis",
        f"redis://user:[{SECRET}]@redis/0",
        f"redis+sentinel://user:{SECRET}@one/",
        f"redis+sentinel://user:{SECRET}/x@one/mymaster",
        f"redis+sentinel://user:{SECRET}@two@one:x/mymaster",
        f"redis+sentinel://one/mymaster?sentinel_pasword={SECRET}",
        f"redis+cluster://:{SECRET}@one/{SECRET}",
        f"redis+cluster://one,:{SECRET}@two",
    ],
)
def test_a_password_in_a_wrong_url_is_not_echoed(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(f"TOKENTAIL_{name}", url)
    with pytest.raises(ConfigError) as refusal:
        Settings.load()
    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:12?hunter=1@redis/0",
        "redis://redis/0?password=x&hunter=1",
        "redis://redis/0?hunter",
        "redis+sentinel://one/mymaster?sentinel_password=x&hunter=1",
        "redis+cluster://user:12?hunter=1@one",
    ],
)
def test_a_piece_of_a_password_is_not_taken_for_an_options_name(url: str) -> None:
    # Given a URL whose password has a ? or & in it, so that its rest looks like an option
    with pytest.raises(ConfigError) as refusal:
        Settings.load(log_redis_url=url)
    assert "hunter" not in str(refusal.value)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    name=st.sampled_from(sorted(Settings.model_fields)),
    value=st.text(st.characters(codec="ascii", exclude_characters="\0")),
)
def test_no_value_of_any_setting_ends_in_a_traceback(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with monkeypatch.context() as environment:
        environment.setenv(f"TOKENTAIL_{name.upper()}", value)
        with contextlib.suppress(ConfigError):
            Settings.load()


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError):
        Settings.load().concurrency = 5  # type: ignore[misc]


def test_an_empty_variable_is_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENTAIL_MODELS", "")
    monkeypatch.setenv("TOKENTAIL_CONCURRENCY", "")
    assert (Settings.load().models, Settings.load().concurrency) == (None, 20)


def test_a_variable_that_is_no_setting_is_noticed() -> None:
    environ = {"TOKENTAIL_CONCURENCY": "5", "TOKENTAIL_CONCURRENCY": "5", "TOKENTAIL_URL": "x", "HOME": "/"}
    assert unknown_variables(environ) == ["TOKENTAIL_CONCURENCY"]
