"""Addresses as the doctor sees them from here: whose they are, and whether anybody listens there."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress

from esl_agent.doctor_checks import Finding, Mark


def listener(key: str, host: str, port: int) -> Finding:
    """Whether an address is taken, without connecting to it: a connection would count as a call."""
    where = f"{key} {host}:{port}"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # With this option only a listener stands in the way, not a connection that has just ended.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return Finding(Mark.OK, "addresses", f"{where}: somebody listens on this machine")
        if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            cure = f"{key}: an address of this machine; or run the doctor where the agent runs"
            return Finding(Mark.FAIL, "addresses", f"{where} is no address of this machine", cure)
        return Finding(Mark.UNCHECKED, "addresses", f"whether anybody listens on {where}: {error.strerror}")
    return Finding(Mark.FAIL, "addresses", f"{where}: nobody listens on this machine", "start it: esl-agent serve")


def resolved(host: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    with suppress(OSError, ValueError):
        for *_, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
            yield ipaddress.ip_address(str(place[0]).partition("%")[0])


def is_loopback(host: str) -> bool:
    found = list(resolved(host))
    return bool(found) and all(each.is_loopback for each in found)


def is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::")


def is_same(one: str, other: str) -> bool:
    return bool(set(resolved(one)) & set(resolved(other)))


def is_this_machine(host: str) -> bool:
    """Whether ``host`` is an address of this machine: only then a socket can be bound to it."""
    for each in resolved(host):
        with (
            suppress(OSError),
            socket.socket(socket.AF_INET if each.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe,
        ):
            probe.bind((str(each), 0))
            return True
    return False


def is_allowed(host: str, networks: tuple[str, ...]) -> bool:
    found = list(resolved(host))
    allowed = [ipaddress.ip_network(network) for network in networks]
    return all(any(each.version == network.version and each in network for network in allowed) for each in found)
