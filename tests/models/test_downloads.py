"""Models that their packages download, from a server on this machine instead of the network."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from ase import Atoms

import mpprobe
from mpprobe.errors import ModelError, TrustError
from mpprobe.models import downloads, named_models
from mpprobe.models.downloads import fetch
from mpprobe.models.families import MACE_FILES, SEVENN_FILES, is_sevennet, locate_sevennet
from mpprobe.models.trust import file_sha256

pytestmark = pytest.mark.usefixtures("quick_builds")

CRYSTAL = Atoms("NaCl", positions=[[0, 0, 0], [2.6, 0.1, 0.2]], cell=[5.2, 5.0, 5.1], pbc=True)
MACE_FILE = MACE_FILES["small"]
MACE_CACHED = "20231210mace128L0_energy_epoch249model"
SEVENN_FILE = SEVENN_FILES["7net-omat"]


@dataclass
class Manners:
    """How the server answers.

    Attributes:
        cut: close the connection after so many bytes of the body.
        wait: hold the connection open there until this is set, rather than close it.
        ranges: answer a request for a range by that range.
        tag, date: entity tag and date of change.
        believe: take every file to be the one that is asked for, whatever tag the request has.
        length: say this length instead of the true one; None to say none.
        chunked: send the body in chunks.
        redirect: send to this address instead.
    """

    cut: int | None = None
    wait: threading.Event | None = None
    ranges: bool = True
    tag: str = '"one"'
    date: str = ""
    believe: bool = False
    length: int | str | None = "true"
    chunked: bool = False
    redirect: str = ""
    asked: list = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Serves a folder without a word; ``/half/...`` breaks off, ``/login/...`` is another page."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        manners = self.server.manners
        manners.asked.append(self.headers.get("Range"))
        kind, _, rest = self.path.removeprefix("/").partition("/")
        path = self.server.folder / (rest or kind)
        if manners.redirect and kind != "new":
            self.begin(302, 0, {"Location": manners.redirect})
        elif kind == "login":
            self.begin(200, 24, {"Content-Type": "text/html"})
            self.wfile.write(b"<html>Please log in</html>"[:24])
        elif not path.is_file():
            self.send_error(404, "File not found")
        else:
            content = path.read_bytes()
            self.answer(content, len(content) // 2 if kind == "half" else manners.cut)

    def answer(self, content, cut):
        manners, first = self.server.manners, 0
        about = {"ETag": manners.tag, "Last-Modified": manners.date}
        same = self.headers.get("If-Range") in (manners.tag or manners.date, None)
        if "Range" in self.headers and manners.ranges and (same or manners.believe):
            first = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if first >= len(content):
                self.begin(416, 0, {"Content-Range": f"bytes */{len(content)}"})
                return
            about["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        body = content[first:]
        length = len(body) if manners.length == "true" else manners.length
        self.begin(206 if first else 200, None if manners.chunked else length, about)
        self.send(body if cut is None else body[: max(0, cut - first)], cut is not None)

    def begin(self, status, length, about):
        self.send_response(status)
        for key, value in about.items():
            if value:
                self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        elif self.server.manners.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()

    def send(self, body, cut):
        manners = self.server.manners
        with contextlib.suppress(ConnectionError):
            if manners.chunked:
                body = b"%x\r\n%b\r\n" % (len(body), body) + (b"" if cut else b"0\r\n\r\n")
            self.wfile.write(body)
            self.wfile.flush()
            if manners.wait is not None:
                manners.wait.wait(60)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass  # a client that was killed


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is served, with its address and a way to shut the server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MPPROBE_CACHE_DIR", str(tmp_path / "own"))
    folder = tmp_path / "served"
    folder.mkdir()
    serving = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    serving.folder = folder
    serving.manners = Manners()
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


def begun(folder):
    """Whether there is part of a file, of which there is nothing else here."""
    left = [path for path in files(folder) if path.suffix != ".json"]
    assert all(path.suffix == ".part" for path in left)
    return any(path.stat().st_size for path in left)


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
    def test_a_failed_download_leaves_no_model(self, failure, mace_server, capfd):
        failure(mace_server)
        refusal("mace-mp-0-small")
        assert not named_models()["mace-mp-0-small"][1].available
        assert begun(mace_server.cache) == (failure is broken_off)
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
    def test_a_failed_download_leaves_no_model(self, failure, sevenn_server, capfd):
        failure(sevenn_server)
        refusal("sevenn-omat")
        assert locate_sevennet("7net-omat") is None
        assert begun(sevenn_server.cache) == (failure is broken_off)
        assert capfd.readouterr().out == ""

    def test_the_registry_finds_it_in_the_cache_of_the_home_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        path = tmp_path / ".cache" / "sevennet" / SEVENN_FILE
        path.parent.mkdir(parents=True)
        path.touch()
        assert locate_sevennet("7net-omat") == path
        assert named_models()["sevenn-omat"][1].available

    def test_where_sevenn_can_not_be_written_to_it_goes_into_the_users_cache(
        self, sevenn_server, tmp_path, monkeypatch
    ):
        made = downloads.tempfile.TemporaryFile

        def only_at_home(*, dir):
            if not dir.is_relative_to(tmp_path / "home"):
                raise PermissionError(13, "Permission denied")
            return made(dir=dir)

        monkeypatch.setattr(downloads.tempfile, "TemporaryFile", only_at_home)
        first = mpprobe.load("sevenn-omat")
        kept = tmp_path / "home" / ".cache" / "sevennet" / SEVENN_FILE
        assert first.provenance["sha256"] == file_sha256(kept)


@pytest.fixture
def whole(sevennet_file, server):
    """A checkpoint, which is served as model.pth; another one is other.pth."""
    content = torch.load(sevennet_file(), weights_only=False)
    torch.save({**content, "epoch": 2}, server.folder / "other.pth")
    (server.folder / "model.pth").write_bytes(sevennet_file().read_bytes())
    return sevennet_file().read_bytes()


@pytest.fixture
def get(server, tmp_path):
    """Download the file as ``name``; gives its bytes."""

    def call(name="model", file="model.pth", folder=tmp_path / "cache"):
        path = fetch(f"{server.url}/{file}", [folder / "m.pth"], name=name, recognises=is_sevennet)
        assert path == folder / "m.pth"
        return path.read_bytes()

    call.place = tmp_path / "cache" / "m.pth"
    call.part = tmp_path / "cache" / "m.pth.part"
    return call


def failed(get, **options):
    """Why a download failed, after which there is no file in its place."""
    with pytest.raises(ModelError, match="couldn't be downloaded") as caught:
        get(**options)
    assert not get.place.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestCutOff:
    @pytest.mark.parametrize(
        ("manners", "goes_on"),
        [({}, True), ({"tag": "", "date": "Sat, 28 Nov 2026 12:00:00 GMT"}, True),
         ({"chunked": True}, True), ({"ranges": False}, True),
         ({"tag": ""}, False), ({"tag": 'W/"weak"'}, False)],
    )  # fmt: skip
    def test_anywhere_it_ends_in_the_same_bytes(
        self, manners, goes_on, whole, server, get, record_property
    ):
        places = [0, 1, 1000, len(whole) // 2, len(whole) - 1]
        for cut in places:
            server.manners = Manners(cut=cut, **manners)
            failed(get)
            server.manners = Manners(**manners)
            assert get() == whole
            assert server.manners.asked == [f"bytes={cut}-" if goes_on and cut else None]
            get.place.unlink()
        assert files(get.place.parent) == []
        record_property("tried", len(places))

    def test_many_times_in_a_row(self, whole, server, get):
        for cut in range(1000, len(whole), len(whole) // 7):
            server.manners.cut = cut
            assert f"broke off after {cut:,} of {len(whole):,} bytes" in failed(get)
        server.manners.cut = None
        assert get() == whole
        assert None not in server.manners.asked[1:]

    def test_the_server_has_another_file_by_now(self, whole, server, get):
        server.manners.cut = 5000
        failed(get)
        other = (server.folder / "other.pth").read_bytes()
        (server.folder / "model.pth").write_bytes(other)
        server.manners = Manners(tag='"two"')
        assert get() == other
        assert server.manners.asked == ["bytes=5000-"]

    def test_and_goes_on_with_the_other_one(self, whole, server, get):
        """A server that doesn't look at the tag it is given: its own tag tells."""
        server.manners.cut = 5000
        failed(get)
        other = (server.folder / "other.pth").read_bytes()
        (server.folder / "model.pth").write_bytes(other)
        server.manners = Manners(tag='"two"', believe=True)
        assert get() == other
        assert server.manners.asked == ["bytes=5000-", None]

    def test_a_part_of_another_address_is_not_gone_on_with(self, whole, server, get):
        server.manners.cut = 5000
        failed(get, file="other.pth")
        server.manners.cut = None
        assert get() == whole
        assert server.manners.asked == [None, None]

    @pytest.mark.parametrize("left", [b"", b"x", None])
    def test_what_is_left_beside_is_whole_too_long_or_unknown(self, left, whole, server, get):
        server.manners.cut = 5000
        failed(get)
        server.manners = Manners()
        get.part.write_bytes(whole if left == b"" else whole + b"more")
        if left is None:
            (get.part.parent / "m.pth.part.json").write_text("[")
        assert get() == whole

    def test_a_damaged_part_is_found_and_removed(self, whole, server, get):
        server.manners.cut = len(whole) - 100
        failed(get)
        server.manners = Manners()
        held = bytearray(get.part.read_bytes())
        held[len(held) - 600] ^= 1
        get.part.write_bytes(held)
        assert "what came is" in failed(get)
        assert files(get.place.parent) == []
        assert get() == whole

    @pytest.mark.parametrize("cut", [1, 5000])
    def test_killed_it_goes_on(self, cut, whole, server, get):
        server.manners = Manners(cut=cut, wait=threading.Event())
        code = (
            "from pathlib import Path; from mpprobe.models.downloads import fetch\n"
            f"fetch({server.url + '/model.pth'!r}, [Path({str(get.place)!r})], name='m', "
            "recognises=lambda file: True)"
        )
        child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        while child.poll() is None and not (get.part.exists() and get.part.stat().st_size == cut):
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        server.manners.wait.set()
        assert not get.place.exists()
        server.manners = Manners()
        assert get() == whole
        assert server.manners.asked == [f"bytes={cut}-"]


class TestRefused:
    @pytest.mark.parametrize(
        ("manners", "reason"),
        [({"length": 1 << 20}, "broke off after"), ({"length": 5000}, "isn't a checkpoint"),
         ({"length": None}, "doesn't say how long"), ({"length": 1 << 40}, "has more than"),
         ({"chunked": True, "cut": 5000}, "IncompleteRead"),
         ({"redirect": "file:///etc/passwd"}, "allowed"), ({"redirect": "ftp://x/y"}, "redirected"),
         ({"redirect": "data:text/plain,x"}, "allowed"), ({"redirect": "/model.pth"}, "redirect")],
    )  # fmt: skip
    def test_answers_that_are_not_the_file(self, manners, reason, whole, server, get):
        server.manners = Manners(**manners)
        assert reason in failed(get)

    @pytest.mark.parametrize("file", ["login/model.pth", "none.pth"])
    def test_other_pages(self, file, whole, server, get):
        failed(get, file=file)
        assert not begun(get.place.parent)

    def test_a_login_page_instead_of_the_rest(self, whole, server, get):
        server.manners.cut = 5000
        failed(get)
        server.manners = Manners(ranges=False)
        (server.folder / "model.pth").write_bytes(b"<html>Please log in</html>")
        assert "isn't a checkpoint" in failed(get)
        assert files(get.place.parent) == []

    def test_https_is_not_given_up(self):
        handler, page = downloads._Redirects(), io.BytesIO()
        request = downloads.urllib.request.Request("https://example.org/model")
        with pytest.raises(downloads._FailedError, match="redirected to http:"):
            handler.redirect_request(request, page, 302, "", {}, "http://example.org/model")
        assert (
            handler.redirect_request(request, None, 302, "", {}, "https://b.org/x").host == "b.org"
        )

    def test_another_address_of_the_same_kind_is_followed(self, whole, server, get):
        server.manners.redirect = f"{server.url}/new/model.pth"
        assert get() == whole

    @pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/etc/passwd"])
    def test_addresses_of_other_kinds(self, address, tmp_path):
        with pytest.raises(ModelError, match="couldn't be downloaded"):
            fetch(address, [tmp_path / "m.pth"], name="m", recognises=lambda file: True)
        assert not (tmp_path / "m.pth").exists()

    def test_a_cache_that_can_not_be_written(self, whole, get, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ModelError, match="couldn't be downloaded"):
            get(folder=tmp_path / "file")

    def test_a_link_in_the_place_of_the_part(self, whole, get, tmp_path):
        (tmp_path / "mine").write_text("mine")
        get.part.parent.mkdir()
        get.part.symlink_to(tmp_path / "mine")
        failed(get)
        assert (tmp_path / "mine").read_text() == "mine"


class TestSwapped:
    def test_on_the_server(self, whole, server, get, tmp_path):
        get()
        get.place.unlink()
        other = (server.folder / "other.pth").read_bytes()
        (server.folder / "model.pth").write_bytes(other)
        with pytest.raises(TrustError, match="isn't the file that was the first one of model"):
            get()
        assert files(get.place.parent) == []
        (tmp_path / "own" / "models" / "model.json").unlink()
        assert get() == other

    @pytest.mark.parametrize("trusted", [True, False])
    def test_in_the_cache(self, trusted, sevenn_server, tmp_path):
        mpprobe.load("sevenn-omat")
        kept = sevenn_server.cache / SEVENN_FILE
        content = torch.load(kept, weights_only=False)
        torch.save({**content, "epoch": 2}, kept)
        with pytest.raises(TrustError) as caught:
            mpprobe.load("sevenn-omat", trust_checkpoint=trusted)
        message, note = str(caught.value), tmp_path / "own" / "models" / "sevenn-omat.json"
        assert message.startswith(f"{kept}: isn't the file that was the first one of sevenn-omat")
        assert f"if you trust the new one, remove {note}" in message
        note.unlink()
        assert mpprobe.load("sevenn-omat").provenance["sha256"] == file_sha256(kept)

    def test_of_mace_too(self, mace_server, tmp_path, mace_file):
        mpprobe.load("mace-mp-0-small", trust_checkpoint=True)
        kept = mace_server.cache / "mace" / MACE_CACHED
        kept.write_bytes(mace_file("8x0e+8x1o").read_bytes())
        with pytest.raises(TrustError, match="first one of mace-mp-0-small"):
            mpprobe.load("mace-mp-0-small", trust_checkpoint=True)

    def test_where_nothing_can_be_kept_it_loads(self, sevenn_server, tmp_path):
        (tmp_path / "own").write_text("")
        assert mpprobe.load("sevenn-omat").family == "sevennet"


def test_several_at_once_fetch_it_once(whole, server, get):
    server.manners = Manners(cut=5000, wait=threading.Event())
    found = []

    def one():
        with contextlib.suppress(ModelError):
            found.append(get())

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    while not server.manners.asked:
        time.sleep(0.01)
    # The first one fails, the next one goes on and all others find the file.
    first, server.manners = server.manners, Manners()
    first.wait.set()
    for thread in threads:
        thread.join()
    assert found == [whole] * 5
    assert server.manners.asked == ["bytes=5000-"]
    assert files(get.place.parent) == [get.place]
