"""The URLs under which a Redis is found: one server, the sentinels that know it, or a cluster.

    redis://[user:password@]host[:port][/db]     unix:///path[?db=0]
    redis+sentinel://[user:password@]host[:port],…/<primary's name>[/db]
        [?sentinel_username=…&sentinel_password=…]
    redis+cluster://[user:password@]host[:port],…
    rediss://   rediss+sentinel://   rediss+cluster://   the same over TLS, with ?ssl_ca_certs= and the like

What a URL says wrongly is a ValueError whose sentence quotes nothing of it, for it may hold a password,
except the name of an option where that can't be a part of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

REDIS_PORT = 6379
SENTINEL_PORT = 26379

ONE_SERVER = ("redis", "rediss", "unix")
SENTINEL = ("redis+sentinel", "rediss+sentinel")
CLUSTER = ("redis+cluster", "rediss+cluster")

_DATABASE = re.compile(r"(/[0-9]*)?")
# Brackets hold the colons of an IPv6 address; without them nothing could tell where its port begins.
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:@\[\]/?#\s]+))(?::(?P<port>[0-9]{1,5}))?")
_HIGHEST_PORT = 65535

#: What may follow a `?`. These are the driver's names. It knows many more, which would undo the bounds that
#: we give each connection, or make it fail in ways that nobody expects.
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_CERTIFICATES_ARE = ("none", "optional", "required")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_ONE_SERVER_OPTIONS = ("db", "username", "password")
#: Only where the driver reads the URL itself, and so makes a bool of it.
_ONE_SERVER_TLS_OPTIONS = (*_TLS_OPTIONS, "ssl_check_hostname")

#: What values may look like, and how that is said.
_VALUES = {
    "db": (re.compile("[0-9]+"), "the number of a database"),
    "ssl_cert_reqs": (re.compile("|".join(_CERTIFICATES_ARE)), f"one of {', '.join(_CERTIFICATES_ARE)}"),
    "ssl_check_hostname": (re.compile("true|false"), "true or false"),
}
_ANYTHING = re.compile(".+", re.DOTALL)
_OPTION_NAME = re.compile("[a-z][a-z_]{0,39}")


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class ManyHosts:
    """A URL that names several servers. No secret of it is shown by `repr`."""

    scheme: str
    addresses: tuple[Address, ...]
    #: What follows the hosts, without its first slash.
    path: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_tls(self) -> bool:
        """Whether every connection is encrypted."""
        return self.scheme.startswith("rediss")

    @property
    def tls_options(self) -> dict[str, str]:
        """What the driver is to be told of certificates."""
        return {name: value for name, value in self.options.items() if name in _TLS_OPTIONS}


@dataclass(frozen=True)
class SentinelUrl:
    """A primary by its name, and the sentinels that know where it is."""

    hosts: ManyHosts
    primary: str
    database: int = 0

    @property
    def sentinel_credentials(self) -> dict[str, str]:
        """How to log in to the sentinels, by the driver's names; empty if they ask for nothing."""
        given = {name.removeprefix("sentinel_"): self.hosts.options.get(name) for name in _SENTINEL_OPTIONS}
        return {name: value for name, value in given.items() if value}


def scheme_of(url: str) -> str:
    """What stands before the first colon, in small letters; empty if there is none."""
    scheme, colon, _ = url.partition(":")
    return scheme.lower() if colon else ""


def is_sentinel(url: str) -> bool:
    """Whether the URL names a primary that sentinels look after."""
    return scheme_of(url) in SENTINEL


def is_cluster(url: str) -> bool:
    """Whether the URL names nodes of a cluster."""
    return scheme_of(url) in CLUSTER


def check_one_server(url: str) -> None:
    """Raises ValueError if the driver would not understand the URL, or understand something else."""
    scheme = scheme_of(url)
    if not url.startswith(f"{scheme}://"):
        raise ValueError("must start with redis://, rediss:// or unix://, in small letters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("must have square brackets only around an IPv6 address") from None
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        # Of 0 the driver would make 6379. What urllib says of a port that is none quotes the password's rest
        # when an @ or # in it is not written as %40 or %23.
        raise ValueError(f"must have a number from 1 to {_HIGHEST_PORT} as its port")
    if scheme == "unix" and (parts.hostname or not parts.path):
        raise ValueError("must name a socket by its whole path, as in unix:///run/redis.sock")
    if scheme != "unix" and not _DATABASE.fullmatch(parts.path):
        # The driver would take database 0 for it, in silence.
        raise ValueError("must end in the number of a database, as in redis://127.0.0.1:6379/0")
    if not _is_host_name(unquote(parts.hostname or "")):
        raise ValueError("must name a host that can be one")
    _check_signs(url)
    _options(parts.query, _ONE_SERVER_OPTIONS, _ONE_SERVER_TLS_OPTIONS if scheme == "rediss" else ())


def parse_sentinel(url: str) -> SentinelUrl:
    """Raises ValueError."""
    hosts = _many_hosts(url, SENTINEL_PORT, _SENTINEL_OPTIONS)
    name, _, database = hosts.path.partition("/")
    if not name or not re.fullmatch(r"[0-9]*", database):
        raise ValueError(
            "must end in the primary's name and, if need be, the number of a database, "
            "as in redis+sentinel://host1:26379,host2:26379,host3:26379/mymaster/0"
        )
    return SentinelUrl(hosts, unquote(name), int(database or 0))


def parse_cluster(url: str) -> ManyHosts:
    """Raises ValueError."""
    hosts = _many_hosts(url, REDIS_PORT, ())
    if hosts.path not in ("", "0"):
        raise ValueError("must not name a database: a cluster has only one")
    return hosts


def _many_hosts(url: str, default_port: int, own_options: tuple[str, ...]) -> ManyHosts:
    # By hand: urllib takes one host only.
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    credentials, _, servers = authority.rpartition("@")
    if "@" in credentials or "," in credentials:
        # Likely credentials before each server; taken for a password, they would be refused much later.
        raise ValueError("must name user and password once, in front; write %40 for @ and %2C for a comma")
    username, _, password = credentials.partition(":")
    options = _options(query, own_options, _TLS_OPTIONS if scheme_of(url).startswith("rediss") else ())
    _check_signs(url)
    return ManyHosts(
        scheme.lower(),
        tuple(_address(server, default_port) for server in servers.split(",")),
        path.rstrip("/"),
        unquote(username) or None,
        unquote(password) or None,
        options,
    )


def _options(query: str, own: tuple[str, ...], of_tls: tuple[str, ...]) -> dict[str, str]:
    """What stands behind the `?`. Raises ValueError for what is none of these, or has a senseless value."""
    if "@" in query:
        # The ? was a password's, and the rest of that would be quoted as an option.
        raise ValueError("must have %3F for a ? and %40 for an @ where these are part of a password")
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = (*own, *of_tls)
    for name, value in options.items():
        if name not in known:
            raise ValueError(_unknown_option(name, options, known))
        pattern, meaning = _VALUES.get(name, (_ANYTHING, "a value"))
        if not pattern.fullmatch(value):
            raise ValueError(f"must have {meaning} as its option {name}")
    return options


def _unknown_option(name: str, options: dict[str, str], known: tuple[str, ...]) -> str:
    if name in _ONE_SERVER_TLS_OPTIONS:
        return f"has the option {name}, which needs TLS here: rediss instead of redis in front"
    # Behind a password with an & in it, its rest would look like an option.
    is_quotable = (
        options[name] and _OPTION_NAME.fullmatch(name) and not any("pass" in each for each in options)
    )
    what = f"an option called {name}" if is_quotable else "an option"
    return f"has {what} that is none of {', '.join(known)}" if known else f"has {what}, but takes none"


def _check_signs(url: str) -> None:
    if "#" in url:
        raise ValueError("must have %23 where a # is meant")
    if "%00" in url:
        raise ValueError("must not hold %00, which no path or name can")


def _is_host_name(text: str) -> bool:
    """Whether it can be looked up at all; the driver has no error of its own for a name that can't."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return not re.search(r"\s", text)


def _address(server: str, default_port: int) -> Address:
    match = _HOST.fullmatch(server.strip())
    port = int(match["port"] or default_port) if match else 0
    if match is None or not 0 < port <= _HIGHEST_PORT or not _is_host_name(match["six"] or match["name"]):
        raise ValueError(
            "must name its servers as host:port, separated by commas; "
            "in a password, write %40 for @, %2F for / and %3A for :"
        )
    return Address(match["six"] or match["name"], port)


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
