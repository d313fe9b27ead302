"""What requests go out with: connections that are kept, nobody's cookies, no redirections, authorities read once."""

from __future__ import annotations

import ssl
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

from esl_agent.errors import ConfigError

#: Connections kept to one server; more calls than that open further ones for a request each.
POOL = 100


def session(base_url: str, headers: dict[str, str], ca_file: str) -> requests.Session:
    """What a provider asks with: kept connections to ``base_url``, ``headers`` with every request."""
    made = NoRedirections()
    # Proxies are looked up once; ~/.netrc, which requests would read for each request, never.
    made.proxies.update(requests.utils.get_environ_proxies(base_url, no_proxy=None))
    made.trust_env = False
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one call's session is no other's
    made.headers.update({"User-Agent": "esl-agent", "Accept-Encoding": "identity", **headers})
    made.mount("http://", HTTPAdapter(pool_maxsize=POOL))
    if base_url.startswith("https:"):
        made.mount("https://", KnownAuthorities(trusting(ca_file)))
    return made


class NoRedirections(requests.Session):
    """Does not look where a redirection leads: requests would read its whole body first, whatever its size."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class KnownAuthorities(HTTPAdapter):
    """TLS with a context that was made once: reading the authorities from their file for each new connection takes
    15 ms, in which every call would wait."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__(pool_maxsize=POOL)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._tls, **options)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context has the authorities."""
        conn.cert_reqs = "CERT_REQUIRED"


@cache
def trusting(ca_file: str = "") -> ssl.SSLContext:
    """Whom to trust: the usual authorities, or those of ``ca_file`` (PEM) alone. Raises ConfigError if that cannot be
    read."""
    return authorities(ca_file)


def authorities(ca_file: str = "") -> ssl.SSLContext:
    """``trusting`` in a context of its own, for whoever has urllib3 check another name than the address': that turns
    ``check_hostname`` off in the context."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.check_hostname = True
    try:
        context.load_verify_locations(ca_file or requests.utils.DEFAULT_CA_BUNDLE_PATH)
    except OSError as error:  # an SSLError is one
        raise ConfigError([f"cannot read certificates from {ca_file!r}: {error.strerror or error}"]) from None
    return context
