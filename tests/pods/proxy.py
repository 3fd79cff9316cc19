"""The configuration of an Envoy that takes the place of Istio's Envoy or Linkerd's proxy."""

import json
from dataclasses import dataclass

# What Istio's Envoy binds to before it dials the app, so that the rules can tell it from others (REDIRECT).
PASSTHROUGH = "127.0.0.6"
# The mark of what the proxy dials with a foreign source address (TPROXY).
MARK = 1337
ADMIN_PORT = 15000


@dataclass(frozen=True)
class Place:
    """Whose place it takes: where it listens, and how it dials the app."""

    inbound: int = 15006
    outbound: int = 15001
    passthrough: bool = True
    tproxy: bool = False


ISTIO = Place()
ISTIO_TPROXY = Place(passthrough=False, tproxy=True)
LINKERD = Place(inbound=4143, outbound=4140, passthrough=False)


def configuration(place):
    inbound_filters = [listener_filter("original_dst")]
    inbound_cluster = original_destination("inbound")
    if place.tproxy:
        inbound_filters.append(listener_filter("original_src", mark=MARK))
    if place.passthrough:
        source = {"source_address": address(PASSTHROUGH, 0)["socket_address"]}
        inbound_cluster["upstream_bind_config"] = source
    inbound = listener("inbound", place.inbound, inbound_filters)
    inbound["transparent"] = place.tproxy
    return json.dumps(
        {
            "admin": {"address": address("127.0.0.1", ADMIN_PORT)},
            "static_resources": {
                "listeners": [listener("outbound", place.outbound, [listener_filter("original_dst")]), inbound],
                "clusters": [original_destination("outbound"), inbound_cluster],
            },
        }
    )


def address(host, port):
    return {"socket_address": {"address": host, "port_value": port}}


def listener_filter(name, **settings):
    version = f"type.googleapis.com/envoy.extensions.filters.listener.{name}.v3." + {
        "original_dst": "OriginalDst",
        "original_src": "OriginalSrc",
    }[name]
    return {"name": name, "typed_config": {"@type": version, **settings}}


def listener(name, port, filters):
    """HTTP from wherever to where it was meant to go; counted as http.NAME."""
    http = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster": name}}
    manager = {
        "@type": f"{http}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{http}.http.router.v3.Router"}}],
    }
    return {
        "name": name,
        "address": address("0.0.0.0", port),
        "listener_filters": filters,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def original_destination(name):
    return {"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s"}
