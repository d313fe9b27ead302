"""Addresses, networks and ports as settings: checked when they are read."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

_ADDRESS = re.compile(r"^(?:\[(?P<six>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})$")


def address(text: str) -> tuple[str, int]:
    """``"127.0.0.1:8084"`` or ``"[::1]:8084"`` as (host, port). Raises ValueError."""
    match = _ADDRESS.match(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ValueError("expected host:port with a port from 1 to 65535, such as 127.0.0.1:8084")
    return match["six"] or match["host"], int(match["port"])


def _check_address(text: str) -> str:
    address(text)
    return text


def _check_optional_address(text: str) -> str:
    return _check_address(text) if text else text


def _check_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("expected an address or network, such as 10.0.0.7 or 10.0.0.0/24") from None
    return text


def _check_ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError("expected an IPv4 address, such as 127.0.0.1") from None


def _check_optional_ipv4(text: str) -> str:
    return _check_ipv4(text) if text else text


def _check_ports(ports: tuple[int, int]) -> tuple[int, int]:
    if not 1024 <= ports[0] <= ports[1] <= 65535:
        raise ValueError(
            "expected the first and the last port of a range between 1024 and 65535, such as [12000, 13999]"
        )
    return ports


Address = Annotated[str, AfterValidator(_check_address)]
OptionalAddress = Annotated[str, AfterValidator(_check_optional_address)]
Network = Annotated[str, AfterValidator(_check_network)]
Ipv4 = Annotated[str, AfterValidator(_check_ipv4)]
OptionalIpv4 = Annotated[str, AfterValidator(_check_optional_ipv4)]
Ports = Annotated[tuple[int, int], AfterValidator(_check_ports)]
