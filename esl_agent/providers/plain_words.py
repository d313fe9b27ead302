"""What went wrong with a connection, in the words of whoever reads the log at night.

requests wraps urllib3's errors, which wrap the system's; the innermost one that is known says it best.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3.exceptions

#: Errors within errors that are looked at.
_DEPTH = 12


#: The first that is found anywhere in the chain is told: a refused connection is a ConnectTimeoutError too, in urllib3.
_KNOWN: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((socket.gaierror, urllib3.exceptions.NameResolutionError), "its name has no address"),
    ((ConnectionRefusedError,), "nobody listens there: connection refused"),
    ((requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError), "no connection in time"),
    ((requests.Timeout, urllib3.exceptions.ReadTimeoutError, TimeoutError), "no answer in time"),
    ((ConnectionResetError, BrokenPipeError), "the connection broke off"),
    ((http.client.HTTPException, urllib3.exceptions.ProtocolError), "the connection broke off"),
)


def plainly(error: BaseException) -> str:
    """One short sentence without address or path; what is not known keeps its type and words."""
    chain = list(_within(error))
    for each in chain:
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {each.verify_message}"
    for kinds, words in _KNOWN:
        if any(isinstance(each, kinds) for each in chain):
            return words
    inner = next((each for each in reversed(chain) if isinstance(each, OSError) and each.strerror), None)
    return str(inner.strerror) if isinstance(inner, OSError) else f"{type(error).__name__}: {error}"


def _within(error: BaseException) -> Iterator[BaseException]:
    """``error`` and the errors it is made of, the outermost first."""
    waiting, seen = [error], 0
    while waiting and seen < _DEPTH:
        each = waiting.pop(0)
        seen += 1
        yield each
        inner = [getattr(each, "reason", None), each.__cause__, each.__context__, *each.args]
        waiting += [part for part in inner if isinstance(part, BaseException) and part is not each]
