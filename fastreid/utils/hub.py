"""Models of the Hugging Face hub: an answer within seconds where there is no network."""

import contextlib
import logging
import socket
import threading
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

SECONDS = 5.0  # to wait for a connection


def reachable(address: str, seconds: float = SECONDS) -> bool:
    """Whether the host of an http(s) address takes a connection; behind a proxy, which is not tried, True."""
    parts = urlsplit(address)
    if parts.scheme in urllib.request.getproxies():
        return True
    port, met = parts.port or (80 if parts.scheme == "http" else 443), []

    def connect() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((parts.hostname, port), timeout=seconds).close()
            met.append(True)

    thread = threading.Thread(target=connect, daemon=True)  # looking a name up has no timeout of its own
    thread.start()
    thread.join(seconds)
    return bool(met)


@contextlib.contextmanager
def hub_access(wanted: str, advice: str) -> Iterator[None]:
    """Let the block load from the hub; where it cannot be reached, from what earlier runs left in its cache alone.

    The hub's client would try for a minute and longer otherwise, and log each attempt.

    Args:
        wanted: what is loaded, and ``advice``: what to do instead, a sentence; both for the error message.

    Raises:
        ConnectionError: the block raised an ``OSError``, as the client does for whatever it cannot get.
    """
    from huggingface_hub import constants

    online = not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT)
    client = logging.getLogger("huggingface_hub")
    former = constants.HF_HUB_OFFLINE, client.level
    constants.HF_HUB_OFFLINE = not online
    client.setLevel(logging.ERROR)
    try:
        yield
    except OSError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        reason = reason if online else f"{constants.ENDPOINT} is not reachable, and its cache has no such files"
        raise ConnectionError(f"Cannot load {wanted} from the Hugging Face hub: {reason}. {advice}") from error
    finally:
        constants.HF_HUB_OFFLINE = former[0]
        client.setLevel(former[1])
