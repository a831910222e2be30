"""Connections to web servers, through the proxies that the environment names as curl, pip and requests take them."""

import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from infra.host.surroundings import SurroundingsError, without_credentials


def proxy_of(url: str) -> str | None:
    """The proxy for `url` by `<scheme>_proxy`, `all_proxy` and `no_proxy`; None if it goes direct."""
    split = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(split.scheme) or proxies.get("all")
    host = split.netloc.rpartition("@")[2]
    if not proxy or urllib.request.proxy_bypass(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def connections(proxy: str | None, **options: Any) -> urllib3.PoolManager:
    """A pool of connections, through `proxy` if there is one. Raises SurroundingsError for a proxy of no known kind."""
    if proxy is None:
        return urllib3.PoolManager(**options)
    split = urlsplit(proxy)
    if split.scheme not in ("http", "https"):
        raise SurroundingsError(
            f"proxy {without_credentials(proxy)}: only http:// and https:// proxies are known. Correct http_proxy, "
            "https_proxy or all_proxy, or name the host in no_proxy."
        )
    headers = None
    if split.username is not None:
        account = f"{unquote(split.username)}:{unquote(split.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=account)
    return urllib3.ProxyManager(f"{split.scheme}://{split.netloc.rpartition('@')[2]}", proxy_headers=headers, **options)
