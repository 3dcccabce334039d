"""The Hugging Face hub where there is no network."""

import logging
import socket
import threading

import pytest
from huggingface_hub import constants

from fastreid.utils import hub
from fastreid.utils.hub import hub_access, reachable


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setattr(hub.urllib.request, "getproxies", dict)


def test_a_host_is_reachable_when_it_takes_a_connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reachable(f"https://127.0.0.1:{port}/some/path")
    assert not reachable(f"https://127.0.0.1:{port}/some/path")
    assert not reachable("https://no-such-host.invalid")


def test_a_proxy_is_trusted_and_a_lookup_without_end_is_not_waited_for(monkeypatch):
    ended = threading.Event()

    def look_up(address, timeout):
        ended.wait(60)
        raise OSError("Name or service not known")

    monkeypatch.setattr(hub.socket, "create_connection", look_up)
    assert not reachable("https://huggingface.co", seconds=0.05)
    ended.set()
    monkeypatch.setattr(hub.urllib.request, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert reachable("https://huggingface.co", seconds=0.05)


@pytest.mark.parametrize("online", [True, False])
def test_only_the_cache_is_asked_without_a_network(monkeypatch, online):
    monkeypatch.setattr(hub, "reachable", lambda address: online)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    client = logging.getLogger("huggingface_hub")
    level = client.level
    with hub_access("x", "y"):
        assert constants.HF_HUB_OFFLINE is not online
        assert client.level == logging.ERROR
    reason = "404\nmore" if online else "offline mode"
    with pytest.raises(ConnectionError) as caught, hub_access("the model", "Name a folder."):
        raise OSError(reason)
    said = "404" if online else f"{constants.ENDPOINT} is not reachable, and its cache has no such files"
    assert str(caught.value) == f"Cannot load the model from the Hugging Face hub: {said}. Name a folder."
    with pytest.raises(ValueError, match="^other$"), hub_access("the model", "Name a folder."):
        raise ValueError("other")
    assert (constants.HF_HUB_OFFLINE, client.level) == (False, level)


def test_the_users_own_offline_mode_stays(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "reachable", lambda address: pytest.fail("the network was tried"))
    with hub_access("x", "y"):
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is True
