"""nchan: nginx's module for fan-out, in C. Its program is fetched by `make bench-peers`, not installed."""

from __future__ import annotations

from pathlib import Path

from bench.edge.cores import SERVER
from bench.edge.feed import Feed
from bench.edge.place import Place
from bench.edge.side import Side
from bench.ports import free_port, listens

NAME = "nchan"

_ROOT = Path(__file__).parents[2] / ".peers" / "nchan"
_NGINX = _ROOT / "usr/sbin/nginx"
_MODULE = _ROOT / "usr/lib/nginx/modules/ngx_nchan_module.so"

#: Debian builds the folder of large messages into the module, where no setting reaches it, and only root can
#: make it. So the module is told another name of the same length, which is taken as one in our own folder.
_BUILT_IN, _OUR_OWN = b"/var/lib/nginx/body", b"messages-in-waiting"

#: One process, as the server beside it is one. Every message is kept, as a log keeps them, so
#: that nobody who is late misses one.
_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
load_module {module};
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  nchan_message_buffer_length 10000;
  nchan_shared_memory_size 128M;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location ~ ^/pub/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; }}
    location ~ ^/sub/(\\w+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; }}
  }}
}}
"""


def side(place: Place) -> Side:
    """Start it with its feed. Raises FileNotFoundError and RuntimeError if it can't be had."""
    if not _MODULE.exists():
        raise FileNotFoundError("nchan is not there (`make bench-peers` fetches it on Debian)")
    folder = place.folder("nginx")
    port = free_port()
    module = folder / _MODULE.name
    module.write_bytes(_MODULE.read_bytes().replace(_BUILT_IN, _OUR_OWN))
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, module=module, port=port))
    nginx = place.run("nchan", SERVER, str(_NGINX), "-p", str(folder), "-c", str(config))
    nginx.until(lambda: listens(port))
    publisher = place.helper("publisher", "bench.edge.publisher", str(port))
    publisher.wait_for("publisher ready")
    return Side(NAME, nginx.pid, f"http://127.0.0.1:{port}", "/sub/{}", Feed(publisher))
