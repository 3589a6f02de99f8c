"""Alerts. Needs the import in plugin.wit and `events = true` in the stage's grant."""

from . import host

_events = host.load("events")


def alert(
    kind: str, subject: str, *, severity: int = 4, value: float = 0.0, threshold: float = 0.0, note: str = ""
) -> None:
    """Raises an alert. Those of a `process` that fails are not raised; rate-limited per stage.

    `kind` is one of a closed set, e.g. `dos-raised`; `subject` what it is about, e.g. an address; `severity` is
    0 emergency to 7 debug, as in syslog; `value` was measured and compared with `threshold`; `note` is for people.
    """
    texts = [host.text(text) for text in (kind, subject, note)]
    _events.emit(
        _events.Alert(texts[0], host.whole(severity, 7), texts[1], float(value), float(threshold), texts[2])
    )
