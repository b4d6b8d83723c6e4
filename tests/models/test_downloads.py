"""Models that their packages download, from a server on this machine instead of the network."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ase import Atoms

import mpprobe
from mpprobe.errors import ModelError, TrustError
from mpprobe.models import named_models
from mpprobe.models.families import MACE_FILES, SEVENN_FILES, locate_sevennet
from mpprobe.models.trust import file_sha256

pytestmark = pytest.mark.usefixtures("quick_builds")

CRYSTAL = Atoms("NaCl", positions=[[0, 0, 0], [2.6, 0.1, 0.2]], cell=[5.2, 5.0, 5.1], pbc=True)
MACE_FILE = MACE_FILES["small"]
MACE_CACHED = "20231210mace128L0_energy_epoch249model"
SEVENN_FILE = SEVENN_FILES["7net-omat"]


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder without a word; ``/half/...`` breaks off, ``/login/...`` is another page."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        kind, _, rest = self.path.removeprefix("/").partition("/")
        if kind == "login":
            self.answer(b"<html>Please log in</html>", "text/html")
        elif kind == "half":
            whole = (Path(self.directory) / rest).read_bytes()
            self.answer(whole[: len(whole) // 2], "application/octet-stream", len(whole))
        else:
            super().do_GET()

    def answer(self, content, kind, length=None):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is served, with its address and a way to shut the server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    serving = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    serving.folder = folder
    serving.url = f"http://127.0.0.1:{serving.server_port}"

    def stop():
        serving.shutdown()
        serving.server_close()
        thread.join()

    serving.stop = stop
    yield serving
    serving.stop()


@pytest.fixture
def mace_server(server, tmp_path, monkeypatch, mace_file):
    """mace's "small" model is a small one of ours, served here; its cache is a folder of ours."""
    content = mace_file("8x0e").read_bytes()
    (server.folder / MACE_FILE).write_bytes(content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    from mace.calculators import foundations_models

    def serve(folder=""):
        url = "/".join(part for part in (server.url, folder, MACE_FILE) if part)
        monkeypatch.setitem(foundations_models.mace_mp_urls, "small", url)

    serve()
    server.serve = serve
    server.cache = tmp_path / "cache"
    return server


@pytest.fixture
def sevenn_server(server, tmp_path, monkeypatch, sevennet_file):
    """sevenn's omat model is a small one of ours, served here, and kept in a folder of ours."""
    import sevenn._const as const

    name = Path(SEVENN_FILE).name
    (server.folder / name).write_bytes(sevennet_file().read_bytes())
    prefix = tmp_path / "cache"
    path = str(prefix / SEVENN_FILE)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(const, "_prefix", str(prefix))
    monkeypatch.setattr(const, "SEVENNET_omat", path)

    def serve(folder=""):
        url = "/".join(part for part in (server.url, folder, name) if part)
        monkeypatch.setitem(const.CHECKPOINT_DOWNLOAD_LINKS, path, url)

    serve()
    server.serve = serve
    server.cache = prefix
    return server


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def refusal(model):
    with pytest.raises(ModelError) as caught:
        mpprobe.load(model, trust_checkpoint=True)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{model}: its weights aren't on this machine and couldn't be")
    assert "give its path to --model" in message
    return message


def not_found(server):
    for path in files(server.folder):
        path.unlink()


def down(server):
    server.stop()
    server.stop = lambda: None


def broken_off(server):
    server.serve("half")


def login_page(server):
    server.serve("login")


FAILURES = [not_found, down, broken_off, login_page]


class TestMace:
    def test_untrusted_it_is_downloaded_and_refused_by_name(self, mace_server):
        with pytest.raises(TrustError) as caught:
            mpprobe.load("mace-mp-0-small")
        kept = mace_server.cache / "mace" / MACE_CACHED
        assert files(mace_server.cache) == [kept]
        message = str(caught.value)
        assert message.startswith(f"{kept} (downloaded by mace): loading this checkpoint can run")
        assert file_sha256(kept)[:16] in message

    def test_trusted_it_loads_and_then_needs_no_network(self, mace_server, capfd):
        spec = named_models()["mace-mp-0-small"][1]
        assert not spec.available
        first = mpprobe.load("mace-mp-0-small", trust_checkpoint=True)
        assert spec.available
        down(mace_server)
        again = mpprobe.load("mace-mp-0-small", trust_checkpoint=True)
        assert first.name == again.name == "mace-mp-0-small"
        energies = [p.run(p.batch(CRYSTAL)).energies.item() for p in (first, again)]
        assert energies[0] == energies[1]
        assert capfd.readouterr().out == ""

    @pytest.mark.parametrize("failure", FAILURES)
    def test_a_failed_download_leaves_nothing(self, failure, mace_server, capfd):
        failure(mace_server)
        refusal("mace-mp-0-small")
        assert files(mace_server.cache) == []
        assert capfd.readouterr().out == ""

    def test_the_reason_is_given(self, mace_server):
        not_found(mace_server)
        assert "(HTTPError: HTTP Error 404: File not found)" in refusal("mace-mp-0-small")

    def test_a_later_try_may_succeed(self, mace_server):
        login_page(mace_server)
        refusal("mace-mp-0-small")
        mace_server.serve()
        assert mpprobe.load("mace-mp-0-small", trust_checkpoint=True).family == "mace"

    def test_organic_models_come_from_their_own_address(self, mace_server, monkeypatch):
        from mace.calculators import foundations_models

        name = MACE_FILES["off23-small"]
        (mace_server.folder / MACE_FILE).rename(mace_server.folder / name)
        monkeypatch.setitem(foundations_models.mace_off_urls, "small", f"{mace_server.url}/{name}")
        potential = mpprobe.load("mace-off-small", trust_checkpoint=True)
        assert potential.name == "mace-off23-small"
        assert named_models()["mace-off23-small"][1].available


class TestSevenNet:
    def test_it_needs_no_trust_and_then_no_network(self, sevenn_server, capfd):
        assert locate_sevennet("7net-omat") is None
        first = mpprobe.load("sevenn-omat")
        kept = sevenn_server.cache / SEVENN_FILE
        assert files(sevenn_server.cache) == [kept]
        down(sevenn_server)
        again = mpprobe.load("SevenNet-omat")
        assert first.provenance == again.provenance
        assert first.provenance["sha256"] == file_sha256(kept)
        assert capfd.readouterr().out == ""

    @pytest.mark.parametrize("failure", FAILURES)
    def test_a_failed_download_leaves_nothing(self, failure, sevenn_server, capfd):
        failure(sevenn_server)
        refusal("sevenn-omat")
        assert files(sevenn_server.cache) == []
        assert capfd.readouterr().out == ""

    def test_the_registry_finds_it_in_the_cache_of_the_home_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        path = tmp_path / ".cache" / "sevennet" / SEVENN_FILE
        path.parent.mkdir(parents=True)
        path.touch()
        assert locate_sevennet("7net-omat") == path
        assert named_models()["sevenn-omat"][1].available
