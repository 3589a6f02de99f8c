"""Read-only files named in the TOML. Needs the import in plugin.wit and `assets = [...]` in the grant."""

from . import host

_assets = host.load("assets")


def read(name: str) -> bytes:
    """The whole file, as it was when the stage was loaded; raises LookupError with what is wrong."""
    try:
        return _assets.read(host.text(name))
    except host.Err as error:
        raise host.denied(error) from None
