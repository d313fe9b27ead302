"""Who may connect to a server that asks for no password."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any


class Allowed:
    """Addresses and networks (``10.0.0.7``, ``10.0.0.0/24``); none at all means everybody."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(each, strict=False) for each in networks]

    def admits(self, peer: Any) -> bool:
        """``peer`` as ``accept`` has it; one without an address, such as of a Unix socket, is nobody's."""
        if not self._networks:
            return True
        if not isinstance(peer, tuple):
            return False
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)
