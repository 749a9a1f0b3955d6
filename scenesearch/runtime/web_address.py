"""Addresses that somebody else has chosen: their parts, and whether they may be called."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from scenesearch.errors import SceneSearchError

MAX_URL = 2000

_PORTS = {"http": 80, "https": 443}
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Taken for public by Python 3.11: 6to4, which leads to other addresses, and protocols' own.
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("2002::/16", "192.88.99.0/24", "192.0.0.0/24")))


class PostError(SceneSearchError):
    """An address cannot be called, or has not accepted what it was sent; the message is one
    sentence for the user."""


@dataclass(frozen=True)
class Target:
    """An address in its parts."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def place(self) -> str:
        """Host and port, as the Host header and messages have them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_target(url: str) -> Target:
    """The parts of an address; raises PostError for one that is not taken."""
    if len(url) > MAX_URL:
        raise PostError(f"the address has {len(url):,} characters, at most {MAX_URL:,} are taken")
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\<>"{}|^`'):
        raise PostError("the address has characters that must be written with % or as punycode")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise PostError("the address is none that can be called") from None
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in _PORTS or not host or "%" in host or port == 0:
        raise PostError("give an address that begins with http:// or https:// and names a host")
    if "@" in parts.netloc:
        raise PostError("the address must not have a user or a password")
    if parts.fragment:
        raise PostError("the address must not have a part after #")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


class HostList:
    """Hosts of a setting, like 'n8n.lan, 192.168.1.20:5678, [::1]:80': names or addresses, with a
    port for that one alone. Raises ValueError for what is no host."""

    def __init__(self, setting: str) -> None:
        self._hosts = frozenset(_entry(part.strip()) for part in setting.split(",") if part.strip())

    def __contains__(self, target: object) -> bool:
        return isinstance(target, Target) and (
            (target.host, target.port) in self._hosts or (target.host, None) in self._hosts
        )


def _entry(text: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{text}")
        if not parts.hostname or parts.netloc != text or set(text) & set("@ "):
            raise ValueError
        return parts.hostname.rstrip("."), parts.port
    except ValueError:
        raise ValueError(
            f"{text!r} is no host: give names or addresses, like n8n.lan:5678"
        ) from None


def is_public(address: str) -> bool:
    """Whether the IP address is one of the internet: none of this machine, of a private network or
    of a link, none that leads to such a one, none of a group."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in _UNICAST_6:
            return False
    is_left_out = any(ip in network for network in _NOT_PUBLIC)
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or is_left_out)
