"""Lines in the collector's log, with the stage's name; rate-limited per stage, cut after 4096 bytes."""

from . import host


def error(message: str) -> None:
    """A person is needed."""
    _log("ERROR", message)


def warn(message: str) -> None:
    """Something is wrong and the plugin goes on. What is printed to stderr is logged like this."""
    _log("WARN", message)


def info(message: str) -> None:
    """Worth knowing. What is printed with `print` is logged like this."""
    _log("INFO", message)


def debug(message: str) -> None:
    """For the plugin's author."""
    _log("DEBUG", message)


def _log(level: str, message: str) -> None:
    host.logging.log(getattr(host.logging.Level, level), host.text(message))
