"""Keys that the collector owns. Needs the import in plugin.wit and `keys = [...]` in the grant."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from . import host
from .batch import Batch
from .expression import Address

_keys = host.load("keys")


class Key:
    """A key of the TOML. It never enters the plugin."""

    def __init__(self, name: str) -> None:
        """Opens the key called `name`; raises LookupError with what is wrong."""
        try:
            self._key = _keys.open(host.text(name))
        except host.Err as error:
            raise host.denied(error) from None

    def prefix_preserving(self, batch: Batch, address: Address) -> None:
        """Replaces an address column by its prefix-preserving anonymisation (Crypto-PAn); IPv4 stays IPv4.

        Needs the grants to read and to write the address.
        """
        self._replace(self._key.prefix_preserving, address)

    def keyed_hash(self, batch: Batch, address: Address) -> None:
        """Replaces an address column by the first bits of a keyed hash: 32 for IPv4, which stays IPv4, 128 for IPv6."""
        self._replace(self._key.keyed_hash, address)

    def prf(self, hi: Iterable[int], lo: Iterable[int]) -> list[int]:
        """A pseudo-random function of each pair: 64 bits of HMAC-SHA-256 over its 16 big-endian bytes."""
        his, los = array("Q", hi).tolist(), array("Q", lo).tolist()
        if len(his) != len(los):
            raise ValueError(f"{len(his)} high and {len(los)} low halves are no pairs")
        return self._key.prf(his, los)

    def _replace(self, method, address: Address) -> None:  # type: ignore[no-untyped-def]
        try:
            method(address.hi.id, address.lo.id)
        except host.Err as error:
            raise host.denied(error, address.name) from None
