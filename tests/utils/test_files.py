import errno
import hashlib
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fastreid.utils.files import atomic_write, cached_download, data_root


def test_an_error_inside_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "x.txt"
    with atomic_write(path, "w") as file:
        file.write("old")
    with pytest.raises(OSError, match="disk full"), atomic_write(path, "w") as file:
        file.write("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["x.txt"]


def test_a_full_disk_is_reported_with_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*x\.txt'"), atomic_write(tmp_path / "x.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError, match="'other'"), atomic_write(tmp_path / "x.txt"):
        os.stat("other")


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    with atomic_write(tmp_path / "a", "w") as file:
        file.write("a")
    (tmp_path / "b").write_text("b")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_the_data_root_follows_the_environment(monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", "/somewhere")
    assert str(data_root()) == "/somewhere"
    monkeypatch.delenv("FASTREID_DATASETS")
    assert str(data_root()) == "datasets"


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "weights.pth").write_bytes(b"weights")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "site")
    handler.log_message = lambda *args: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_download_is_fetched_once_and_checked(server, tmp_path):
    digest = hashlib.sha256(b"weights").hexdigest()
    path = cached_download(f"{server}/weights.pth", digest[:8], cache=tmp_path / "cache")
    assert path.read_bytes() == b"weights"
    (tmp_path / "site" / "weights.pth").unlink()
    assert cached_download(f"{server}/weights.pth", digest[:8], cache=tmp_path / "cache") == path


def test_processes_that_need_one_file_at_once_fetch_it_once(monkeypatch, tmp_path):
    """Each opens its own lock, so threads stand for processes here."""
    asked, barrier = [], threading.Barrier(4)

    class Response(io.BytesIO):
        headers = {}

    def answer(url, timeout):
        asked.append(url)
        return Response(b"weights")

    def fetch(_):
        barrier.wait()
        return cached_download("https://example.org/weights.pth", cache=tmp_path / "cache").read_bytes()

    monkeypatch.setattr("urllib.request.urlopen", answer)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fetch, range(4))) == [b"weights"] * 4
    assert len(asked) == 1


def test_a_link_in_place_of_the_lock_is_refused_and_what_it_leads_to_stays(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "precious").write_text("content")
    target = tmp_path / "cache" / "weights.pth"
    name = hashlib.sha256(os.fsencode(target)).hexdigest()[:16]
    (tmp_path / f"fastreid-{os.getuid()}-{name}.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        cached_download("https://example.org/weights.pth", "00", cache=tmp_path / "cache")
    assert (tmp_path / "precious").read_text() == "content"


def test_a_wrong_checksum_is_refused(server, tmp_path):
    with pytest.raises(ValueError, match=r"wrong checksum: expected SHA-256 00000000"):
        cached_download(f"{server}/weights.pth", "00000000", cache=tmp_path / "cache")


def test_files_of_one_name_from_two_addresses_are_kept_apart(server, tmp_path):
    (tmp_path / "site" / "other").mkdir()
    (tmp_path / "site" / "other" / "weights.pth").write_bytes(b"other")
    names = ("weights.pth", "other/weights.pth")
    paths = [cached_download(f"{server}/{name}", cache=tmp_path / "cache") for name in names]
    assert [path.read_bytes() for path in paths] == [b"weights", b"other"]


def test_a_download_that_ends_early_is_refused(monkeypatch, tmp_path):
    class Response(io.BytesIO):
        headers = {"Content-Length": "9"}

    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Response(b"only"))
    with pytest.raises(ConnectionError, match="4 of 9 bytes"):
        cached_download("https://example.org/weights.pth", cache=tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


def test_a_failed_download_from_google_drive_says_where_to_put_the_file(monkeypatch, tmp_path):
    gdown = pytest.importorskip("gdown")

    def refuse(url, output, quiet):
        raise gdown.exceptions.FileURLRetrievalError("Cannot retrieve the public link of the file")

    monkeypatch.setattr(gdown, "download", refuse)
    with pytest.raises(ConnectionError, match=r"public link of the file.*save it as .*cache"):
        cached_download("https://drive.google.com/uc?id=abc", cache=tmp_path / "cache")


def test_a_failed_download_says_where_to_put_the_file(server, tmp_path):
    with pytest.raises(ConnectionError, match=r"save it as .*gone\.pth"):
        cached_download(f"{server}/gone.pth", cache=tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []
