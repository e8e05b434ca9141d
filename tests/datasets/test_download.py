from __future__ import annotations

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from rushlight.datasets import DownloadError
from rushlight.datasets.download import fetch, sums_match

DATA = bytes(range(256)) * 1000
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Paths say how to misbehave: /good/, /missing/, /bad/, /broken/ (half the bytes), /deaf/ (no
    ranges).
    """

    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get("Range")))
        kind = self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404)
            return
        body = DATA if kind != "bad" else DATA[::-1]
        start = 0
        asked = self.headers.get("Range")
        if asked and kind not in ("deaf", "bad"):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        sent = body[start:]
        self.wfile.write(sent[: len(sent) // 2] if kind == "broken" else sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.at = lambda kind: f"http://127.0.0.1:{server.server_address[1]}/{kind}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_file_is_fetched_checked_and_alone(server, tmp_path):
    path = fetch("f.gz", [server.at("good")], tmp_path / "new" / "folder", md5=MD5, sha256=SHA256)
    assert path == tmp_path / "new" / "folder" / "f.gz"
    assert path.read_bytes() == DATA
    assert [p.name for p in path.parent.iterdir()] == ["f.gz"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "f").write_bytes(DATA)
    fetch("f", [server.at("good")], tmp_path, md5=MD5)
    assert server.requests == []
    assert sums_match(tmp_path / "f", sha256=SHA256)
    assert not sums_match(tmp_path / "f", md5="0" * 32)
    assert not sums_match(tmp_path / "g", md5=MD5)


def test_mirrors_fail_over(server, tmp_path):
    mirrors = [server.at(kind) for kind in ("missing", "bad", "good")]
    assert fetch("f", mirrors, tmp_path, md5=MD5).read_bytes() == DATA
    assert [path.split("/")[1] for path, _ in server.requests] == ["missing", "bad", "good"]


def test_broken_connection_is_resumed(server, tmp_path):
    with pytest.raises(DownloadError, match=r"broke after 128,000 of 256,000 bytes"):
        fetch("f", [server.at("broken")], tmp_path, md5=MD5)
    assert not (tmp_path / "f").exists()
    assert (tmp_path / "f.part").read_bytes() == DATA[:128000]
    assert fetch("f", [server.at("good")], tmp_path, md5=MD5).read_bytes() == DATA
    assert server.requests[-1] == ("/good/f", "bytes=128000-")
    assert not (tmp_path / "f.part").exists()


def test_next_mirror_resumes_what_the_first_began(server, tmp_path):
    fetch("f", [server.at("broken"), server.at("good")], tmp_path, sha256=SHA256)
    assert server.requests == [("/broken/f", None), ("/good/f", "bytes=128000-")]


def test_server_without_ranges_sends_all(server, tmp_path):
    (tmp_path / "f.part").write_bytes(DATA[:1000])
    assert fetch("f", [server.at("deaf")], tmp_path, md5=MD5).read_bytes() == DATA


def test_wrong_leftover_is_thrown_away(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    assert fetch("f", [server.at("good")], tmp_path, md5=MD5).read_bytes() == DATA
    assert [asked for _, asked in server.requests] == ["bytes=1000-", None]


def test_leftover_that_was_whole(server, tmp_path):
    (tmp_path / "f.part").write_bytes(DATA)
    assert fetch("f", [server.at("good")], tmp_path, md5=MD5).read_bytes() == DATA


def test_wrong_sum_leaves_nothing(server, tmp_path):
    with pytest.raises(DownloadError, match=f"the md5 of what came is .*, not {MD5}"):
        fetch("f", [server.at("bad")], tmp_path, md5=MD5)
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_one_line_that_names_every_mirror(server, tmp_path):
    port = server.server_address[1]
    server.shutdown()
    server.server_close()
    mirrors = [f"http://127.0.0.1:{port}/", "http://no-such-host.invalid/"]
    with pytest.raises(DownloadError) as caught:
        fetch("f.gz", mirrors, tmp_path, md5=MD5, timeout=5)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("could not download f.gz: http://127.0.0.1")
    assert "refused" in message and "no-such-host.invalid/f.gz: no network" in message
    with pytest.raises(DownloadError, match="no mirror is known"):
        fetch("f.gz", [], tmp_path)


def test_mnist_is_downloaded_from_its_mirrors(server, tmp_path, monkeypatch):
    import gzip

    import numpy as np

    from rushlight.datasets import MNIST
    from rushlight.datasets.idx import idx_bytes

    files = {
        "train-images-idx3-ubyte": np.arange(2 * 9, dtype=np.uint8).reshape(2, 3, 3),
        "train-labels-idx1-ubyte": np.array([7, 1], np.uint8),
        "t10k-images-idx3-ubyte": np.zeros((1, 3, 3), np.uint8),
        "t10k-labels-idx1-ubyte": np.array([3], np.uint8),
    }
    packed = {name + ".gz": gzip.compress(idx_bytes(array)) for name, array in files.items()}
    sums = [(n, hashlib.md5(b, usedforsecurity=False).hexdigest()) for n, b in packed.items()]

    def do_get(self):
        body = packed[Path(self.path).name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    monkeypatch.setattr(Handler, "do_GET", do_get)
    monkeypatch.setattr(MNIST, "mirrors", [server.at("x")])
    monkeypatch.setattr(MNIST, "resources", sums)
    with pytest.raises(RuntimeError, match="download=True"):
        MNIST(tmp_path)
    data = MNIST(tmp_path, download=True)
    assert data.targets.tolist() == [7, 1]
    assert sorted(p.name for p in Path(data.raw_folder).iterdir()) == sorted(files)
    assert len(MNIST(tmp_path, train=False)) == 1
