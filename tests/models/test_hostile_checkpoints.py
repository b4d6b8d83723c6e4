"""Checkpoints made to do harm: nothing in them runs, and none takes the machine's memory."""

import contextlib
import copyreg
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import textwrap
import tracemalloc
import zipfile

import pytest
import torch

import mpprobe
from mpprobe.errors import ModelError, TrustError
from mpprobe.models import trust
from mpprobe.models.families import locate_sevennet
from mpprobe.models.plain import MOST_NESTED, NotPlainError, plain_copy
from mpprobe.models.trust import inspect

pytestmark = pytest.mark.usefixtures("quick_builds")

# What makes a file look like one of either family, in opcodes of any protocol.
SEVENNET = b"".join(b"V" + word + b"\n0" for word in (b"config", b"model_state_dict", b"cutoff"))
MACE = b"cmace.modules\nScaleShiftMACE\n0"
MKDIR = os.mkdir.__module__.encode()  # posix


def text(value):
    """A text in opcodes that every protocol has."""
    return b"V" + str(value).encode("raw-unicode-escape") + b"\n"


def long_text(value):
    """The same as the newer protocols write it."""
    data = str(value).encode()
    return b"X" + struct.pack("<I", len(data)) + data


def call(name, *arguments):
    """A call of an importable function, by GLOBAL and REDUCE."""
    module, _, function = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + function.encode() + b"\n(" + b"".join(arguments) + b"tR"


def as_bytes(value):
    return b"C" + bytes([len(value)]) + value if len(value) < 256 else _long_bytes(value)


def _long_bytes(value):
    return b"B" + struct.pack("<I", len(value)) + value


def saved(canary):
    """A checkpoint of torch's that makes the folder when it is unpickled."""
    out = io.BytesIO()
    torch.save(Evil(canary), out)
    return out.getvalue()


class Evil:
    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def forms(canary):
    """Pickles without their STOP that make the folder ``canary``, by every way there is to."""
    path, code = text(canary), text(f"__import__('os').mkdir({str(canary)!r})")
    modules = {b"P": MKDIR, b"m": b"mkdir"}
    short = {k: b"\x8c" + bytes([len(v)]) + v for k, v in modules.items()}
    inner = pickle.dumps(Evil(canary))
    return {
        "global and reduce": call(f"{MKDIR.decode()}.mkdir", path),
        "inst": b"(" + path + b"i" + MKDIR + b"\nmkdir\n",
        "obj": b"(c" + MKDIR + b"\nmkdir\n" + path + b"o",
        "newobj of a function's class": call("functools.partial", b"c" + MKDIR + b"\nmkdir\n", path)
        + b")R",
        "stack global": b"\x80\x04" + short[b"P"] + short[b"m"] + b"\x93(" + path + b"tR",
        "stack global from the memo": b"\x80\x04" + short[b"P"] + b"\x94" + short[b"m"] + b"\x94"
        + b"N00Nh\x000h\x00h\x01\x93(" + path + b"tR",
        "stack global of copies": b"\x80\x04" + short[b"m"] + b"q\x07" + b"0" + short[b"P"]
        + b"2" + b"0" + b"j\x07\0\0\0\x93(" + path + b"tR",
        "dotted name": b"\x80\x04" + b"\x8c\x06shutil" + b"\x8c\x08os.mkdir" + b"\x93("
        + path + b"tR",
        "extension registry": b"\x82\xf0(" + path + b"tR",
        "newobj_ex": b"\x80\x04" + b"cfunctools\npartial\n(c" + MKDIR + b"\nmkdir\n" + path
        + b"t}\x92)R",
        "build": call("functools.partial", b"cbuiltins\nlen\n") + b"(c" + MKDIR + b"\nmkdir\n("
        + path + b"t}Ntb)R",
        "eval": call("builtins.eval", code),
        "exec": call("builtins.exec", code),
        "compiled": call("builtins.exec", call("builtins.compile", code, text("x"), text("exec"))),
        "getattr": call("builtins.getattr", call("importlib.import_module", text("os")),
                        text("mkdir")) + b"(" + path + b"tR",
        "old module name": b"c__builtin__\neval\n(" + code + b"tR",
        "a pickle in a pickle": call("_pickle.loads", as_bytes(inner)),
        "torch's own loader": call("torch.storage._load_from_bytes", as_bytes(saved(canary))),
        "torch.load": call("functools.partial", b"cbuiltins\nlen\n")
        + b"(ctorch.serialization\nload\n(" + call("_io.BytesIO", as_bytes(saved(canary)))
        + b"t(" + text("weights_only") + b"I00\ndNtb)R",
        "code module": call("code.InteractiveInterpreter") and call(
            "builtins.getattr", call("code.InteractiveInterpreter"), text("runsource"))
        + b"(" + code + b"tR",
        "a shell": call("os.system", text(f"mkdir '{canary}'")),
        "a subprocess": call("subprocess.call", b"(" + text("mkdir") + path + b"l"),
        "runpy": call("runpy._run_code", code_object(canary), b"(d"),
        "timeit": call("timeit.timeit", text("0"), code, b"ctime\ntime\n", b"I1\n"),
        "as a dict's key": b"(" + call(f"{MKDIR.decode()}.mkdir", path) + b"I1\nd",
        "in a persistent id": call(f"{MKDIR.decode()}.mkdir", path) + b"0N",
        "after much else": b"N0" * 5000 + call(f"{MKDIR.decode()}.mkdir", path),
        "after a STOP that isn't one": b"V.\n0" + call(f"{MKDIR.decode()}.mkdir", path),
    }  # fmt: skip


def code_object(canary):
    """Opcodes of a compiled statement: there are none, so the call that compiles it."""
    return call("builtins.compile", text(f"__import__('os').mkdir({str(canary)!r})"),
                text("x"), text("exec"))  # fmt: skip


FORMS = sorted(forms("x"))


def as_file(path, pickled, shape):
    """A checkpoint file around a pickle."""
    if shape == "raw":
        path.write_bytes(pickled)
    elif shape == "older":
        head = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {}))
        path.write_bytes(head + pickled + pickle.dumps([], 2))
    else:
        out = io.BytesIO()
        torch.save({}, out)
        with zipfile.ZipFile(out) as old, zipfile.ZipFile(path, "w") as new:
            for member in old.infolist():
                own = member.filename.endswith("data.pkl")
                new.writestr(member.filename, pickled if own else old.read(member))


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.fixture
def extension():
    """An entry of the registry that lets a pickle name a function by a number."""
    copyreg.add_extension(MKDIR.decode(), "mkdir", 0xF0)
    yield
    copyreg.remove_extension(MKDIR.decode(), "mkdir", 0xF0)


def refused(path, canary, **options):
    """The message of the refusal; the canary isn't there."""
    with pytest.raises(ModelError) as caught:
        mpprobe.load(path, **options)
    assert not canary.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.usefixtures("extension")
class TestPickles:
    @pytest.mark.parametrize("form", FORMS)
    def test_unpickling_would_run_code(self, form, canary):
        """Without which the test below couldn't fail."""
        pickle.loads(forms(canary)[form] + b".", fix_imports=True)
        assert canary.exists()

    @pytest.mark.parametrize("form", FORMS)
    def test_as_file_of_either_family_none_of_it_runs(
        self, form, canary, tmp_path, mace_file, record_property
    ):
        mace_file("8x0e")
        tried = 0
        for shape in ("zip", "older", "raw"):
            for family in (SEVENNET, MACE):
                for protocol in (b"", b"\x80\x02"):
                    path = tmp_path / f"gift{tried}.pth"
                    as_file(path, protocol + family + forms(canary)[form] + b".", shape)
                    assert str(path) in refused(path, canary)
                    tried += 1
        refused(f"random:{path}", canary)
        record_property("tried", tried)

    @pytest.mark.parametrize("form", FORMS)
    def test_in_a_whole_sevennet_checkpoint(self, form, canary, tmp_path, sevennet_file):
        """Where all else is as sevenn writes it, and torch's own data loader would read it."""
        path = tmp_path / "gift.pth"
        with zipfile.ZipFile(sevennet_file()) as old, zipfile.ZipFile(path, "w") as new:
            for member in old.infolist():
                data = old.read(member)
                if member.filename.endswith("data.pkl"):
                    data = data[:2] + forms(canary)[form] + b"0" + data[2:]
                new.writestr(member.filename, data)
        with pytest.raises(TrustError, match=r"holds the (import|opcode)"):
            mpprobe.load(path)
        assert not canary.exists()


def with_records(path, source, changed=None, added=(), compress=zipfile.ZIP_STORED):
    """A checkpoint's archive written again with other or more files in it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", compress) as new:
        folder = old.namelist()[0].partition("/")[0]
        for member in old.infolist():
            name = member.filename.removeprefix(folder + "/")
            new.writestr(f"{folder}/{name}", (changed or {}).get(name) or old.read(member))
        for name, data in added:
            new.writestr(name.format(folder), data)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
class TestArchives:
    """A checkpoint that is fine, with a pickle that isn't somewhere else in its archive."""

    @pytest.fixture
    def evil(self, canary):
        return SEVENNET + MACE + forms(canary)["eval"] + b"."

    @pytest.fixture
    def write(self, tmp_path, sevennet_file):
        def made(**options):
            return with_records(tmp_path / "gift.pth", sevennet_file(), **options)

        return made

    @pytest.mark.parametrize(
        ("name", "reason"),
        [("{}/data.pkl", "2 times"), ("{}/DATA.PKL", "2 times"), ("other/data.pkl", "several"),
         ("data.pkl", "several"), ("../{}/data.pkl", "several"), ("/data.pkl", "several"),
         ("{}/version", "2 times"), ("{}/constants.pkl", "TorchScript"),
         ("{}/Constants.pkl", "TorchScript"), ("x/constants.pkl", "TorchScript")],
    )  # fmt: skip
    def test_what_torch_does_not_write_is_refused(self, name, reason, evil, write, canary):
        assert reason in refused(write(added=[(name, evil)]), canary, trust_checkpoint=True)

    @pytest.mark.parametrize("name", ["{}/other.pkl", "{}/data/data.pkl", "{}/data/9999"])
    def test_what_nobody_reads_does_nothing(self, name, evil, write, canary):
        assert mpprobe.load(write(added=[(name, evil)])).family == "sevennet"
        assert not canary.exists()

    def test_a_second_directory_is_not_read(self, evil, tmp_path, write, canary, sevennet_file):
        """Python's reader takes the directory before the end, torch's that at the stated place."""
        good = sevennet_file().read_bytes()
        bad = with_records(tmp_path / "bad.pth", sevennet_file(), changed={"data.pkl": evil})
        for first, second in ((good, bad.read_bytes()), (bad.read_bytes(), good)):
            end = second.rfind(b"PK\x05\x06")
            place = struct.pack("<I", first.rfind(b"PK\x01\x02"))
            for content in (
                first + second,
                second + first,
                first + second[: end + 16] + place + second[end + 20 :],
            ):
                path = tmp_path / "gift.pth"
                path.write_bytes(content)
                with contextlib.suppress(ModelError):
                    assert mpprobe.load(path).family == "sevennet"
                assert not canary.exists()

    def test_a_local_header_of_another_name(self, evil, write, canary):
        path = write(added=[("{}/data/xx", evil)])
        content = path.read_bytes()
        path.write_bytes(content.replace(b"/data/xx", b"/data/00", 1))
        assert "BadZipFile" in refused(path, canary)

    def test_a_damaged_checksum(self, write, canary):
        path = write()
        content = bytearray(path.read_bytes())
        content[content.find(b"model_state_dict")] ^= 1
        path.write_bytes(content)
        assert "not a readable PyTorch checkpoint" in refused(path, canary)

    @pytest.mark.parametrize("kind", ["w", "w:gz"])
    def test_tar_files(self, kind, evil, tmp_path, canary):
        """The format before the older one; torch would unpack it and unpickle what is in it."""
        path = tmp_path / "gift.pth"
        with tarfile.open(path, kind) as tar:
            for name in ("storages", "tensors", "pickle", str(canary)):
                about = tarfile.TarInfo(name)
                about.size = len(evil)
                tar.addfile(about, io.BytesIO(evil))
        refused(path, canary)
        refused(path, canary, trust_checkpoint=True)

    def test_links_pipes_and_folders(self, evil, tmp_path, canary):
        path = tmp_path / "real.pth"
        as_file(path, evil, "zip")
        link, pipe = tmp_path / "link.pth", tmp_path / "pipe.pth"
        link.symlink_to(path)
        os.mkfifo(pipe)
        refused(link, canary)
        assert "no such" in refused(pipe, canary)
        assert "folder" in refused(tmp_path, canary)


class TestSwapped:
    """The file is another one when it is loaded than when it was looked at."""

    @pytest.mark.parametrize("family", ["sevennet", "mace"])
    @pytest.mark.parametrize("trusted", [True, False])
    def test_it_is_not_loaded(
        self, family, trusted, tmp_path, canary, sevennet_file, mace_file, monkeypatch
    ):
        good = sevennet_file() if family == "sevennet" else mace_file("8x0e")
        path, looked = tmp_path / "model.pth", trust.inspect
        path.write_bytes(good.read_bytes())

        def look_then_swap(given):
            found = looked(given)
            as_file(path, SEVENNET + MACE + forms(canary)["eval"] + b".", "zip")
            return found

        monkeypatch.setattr("mpprobe.models.registry.inspect", look_then_swap)
        monkeypatch.setitem(trust.KNOWN_SHA256, looked(path).sha256, "known")
        assert "was changed while" in refused(path, canary, trust_checkpoint=trusted)

    def test_a_known_one_loads_without_a_flag(self, mace_file, monkeypatch):
        path = mace_file("8x0e")
        with pytest.raises(TrustError):
            mpprobe.load(path)
        monkeypatch.setitem(trust.KNOWN_SHA256, inspect(path).sha256, "known")
        assert mpprobe.load(path).family == "mace"


# What isn't code, but no data either: (pickle, what it would do).
DTYPE = b"cnumpy\ndtype\n(%b\x89\x88tR(K\x03%bNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
OBJECTS = DTYPE % (b"X\x02\0\0\0O8", b"X\x01\0\0\0|")
FLOATS = DTYPE % (b"X\x02\0\0\0f8", b"X\x01\0\0\0<")
RAW = b"c_codecs\nencode\n(X\x08\0\0\0AAAAAAAAX\x06\0\0\0latin1tR"
EMPTY = (b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t"
         b"c_codecs\nencode\n(X\x01\0\0\0bX\x06\0\0\0latin1tRtR")  # fmt: skip
STORAGE = b"((X\x07\0\0\0storagectorch\nFloatStorage\n%bX\x03\0\0\0cpu%btQ"
TENSOR = (b"ctorch._utils\n_rebuild_tensor_v2\n" + STORAGE
          + b"%b(%bt(%bt\x89ccollections\nOrderedDict\n)RtR")  # fmt: skip
HUGE = b"\x8a\x05\0\0\0\0\x10"  # 2**36
ONE, NAME = b"K\x01", b"X\x01\0\0\x000"


def tensor(count=ONE, offset=b"K\x00", size=ONE, stride=ONE, key=NAME):
    return TENSOR % (key, count, offset, size, stride)


ABSURD = {
    "an array of made-up pointers": EMPTY + b"(K\x01(K\x01t" + OBJECTS + b"\x89" + RAW + b"tb",
    "a dtype with other flags": (DTYPE % (b"X\x02\0\0\0f8", b"X\x01\0\0\0<"))[:-4] + b"K?tb",
    "every float's byte order": FLOATS.replace(b"\x89\x88tR", b"\x89\x89tR"),
    "an array without its numbers": EMPTY + b"(K\x01(K\x64t" + FLOATS + b"\x89" + RAW + b"tb",
    "an array of negative length": EMPTY + b"(K\x01(J\xff\xff\xff\xfft" + FLOATS + b"\x89" + RAW
    + b"tb",
    "an array that is huge at once": b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n("
    + HUGE + b"tX\x01\0\0\0btR",
    "a huge byte array": b"cbuiltins\nbytearray\n" + HUGE + b"\x85R",
    "a huge tensor": b"ctorch\nTensor\n" + HUGE + b"\x85R",
    "a storage that the file hasn't": tensor(HUGE),
    "a storage of another size": tensor(b"K\x02"),
    "a storage of no key": tensor(key=b"X\x02\0\0\0zz"),
    "a storage of negative size": tensor(b"J\xff\xff\xff\xff"),
    "a storage with two sizes": tensor() + b"0" + tensor(b"K\x02"),
    "a tensor larger than its storage": tensor(size=HUGE),
    "a tensor beside its storage": tensor(offset=HUGE),
    "a tensor before its storage": tensor(offset=b"J\xff\xff\xff\xff"),
    "one number as a tensor of any size": tensor(size=HUGE, stride=b"K\x00"),
    "a tensor of broken shape": tensor(stride=b""),
    "a text longer than the file": b"X\xff\xff\xff\x7fx",
    "a number of endless digits": b"L" + b"9" * 100_000 + b"L\n",
    "a number longer than the file": b"\x8b\xff\xff\xff\x7f1",
    "a place in the memo that isn't": b"h\x55",
    "a tuple nested without end": b")" + b"\x85" * 200_000,
    "and as a key": b"})" + b"\x85" * 200_000 + b"K\x01s",
    "a list nested without end": b"]" * 100_000 + b"a" * 99_999,
    "a list in itself": b"]q\x00h\x00a",
    "a list of lists of lists, each twice": b"]q\x00"
    + b"0]q\x01(h\x00h\x00e0]q\x00(h\x01h\x01e" * 50,
    "nothing on the stack": b"a",
    "no mark": b"t",
    "a frame without end": b"\x95" + b"\xff" * 8,
}  # fmt: skip


def whole(made):
    """A SevenNet checkpoint's dict with this among its values."""
    return (b"\x80\x02}(X\x06\0\0\0config}X\x10\0\0\0model_state_dict}X\x06\0\0\0cutoffG"
            + struct.pack(">d", 5.0) + b"X\x01\0\0\0x" + made + b"u.")  # fmt: skip


# In a process of its own, since it might crash; its memory is limited, and what it used is told.
CHILD = """
import resource, sys, torch, mpprobe
import mpprobe.models.sevennet, sevenn.checkpoint
from mpprobe.errors import ModelError
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = used()
for path in sys.argv[1:]:
    try:
        mpprobe.load(path)
    except ModelError as error:
        print(str(error).replace(chr(10), "NEWLINE"))
    else:
        print("loaded")
print(used() - before)
"""


def refusals(paths):
    """What a process that loads them says of each, and the memory that it took, in MB."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(CHILD), *map(str, paths)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, f"{ran.returncode}: {ran.stdout[-500:]}{ran.stderr[-2000:]}"
    *lines, memory = ran.stdout.splitlines()
    return lines, int(memory)


class TestBombs:
    @pytest.mark.slow
    def test_none_crashes_or_takes_memory(self, tmp_path, record_property):
        paths = []
        for number, made in enumerate(ABSURD.values()):
            for shape in ("zip", "older"):
                paths.append(tmp_path / f"{number}-{shape}.pth")
                as_file(paths[-1], whole(made), shape)
        lines, memory = refusals(paths)
        assert len(lines) == len(paths)
        for path, line in zip(paths, lines, strict=True):
            assert line.startswith(str(path)), line
            assert "NEWLINE" not in line
        assert memory < 600
        record_property("tried", len(paths))

    def test_configurations_of_more_weights_than_the_file(
        self, tmp_path, sevennet_file, record_property
    ):
        """sevenn would make room for gigabytes before it looks at the weights that are there."""
        held = torch.load(sevennet_file(), weights_only=False)
        wide = "60000x0e"
        changes = [
            {"channel": 60_000}, {"weight_nn_hidden_neurons": [60_000, 60_000]},
            {"weight_nn_hidden_neurons": [60_000, 60_000, -60_000]},
            {"num_convolution_layer": 10**7}, {"num_convolution_layer": 10**300},
            {"radial_basis": {"radial_basis_name": "bessel", "bessel_basis_num": 10**10}},
            {"irreps_manual": ["4x0e", wide, "4x0e"]}, {"irreps_manual": ["4x0e", "4x0e", wide]},
            {"_number_of_species": 10**10},
            {"readout_as_fcn": True, "readout_fcn_hidden_neurons": [60_000, 60_000]},
        ]  # fmt: skip
        paths = [tmp_path / f"{i}.pth" for i in range(len(changes))]
        for path, change in zip(paths, changes, strict=True):
            torch.save(held | {"config": held["config"] | change}, path)
        lines, memory = refusals(paths)
        for path, line in zip(paths, lines, strict=True):
            assert re.match(f"{path}: its configuration asks for [0-9,]+ weights", line), line
        assert memory < 200
        record_property("tried", len(paths))

    @pytest.mark.parametrize("what", ABSURD)
    def test_nothing_of_it_reaches_torch(self, what, tmp_path):
        path = tmp_path / "bomb.pth"
        as_file(path, whole(ABSURD[what]), "zip")
        with pytest.raises((NotPlainError, ModelError)):
            plain_copy(path, path.read_bytes())

    def test_the_same_with_sizes_that_are_true_is_data(self, tmp_path):
        """Without which the tests above would prove nothing."""
        path = tmp_path / "fine.pth"
        nested = b"]" * MOST_NESTED + b"a" * (MOST_NESTED - 1)
        array = EMPTY + b"(K\x01(K\x01t" + FLOATS + b"\x89" + RAW + b"tb"
        for made in (array, nested[2:-2], tensor()):
            as_file(path, whole(made), "zip")
            with_records(tmp_path / "whole.pth", path, added=[("{}/data/0", b"\0" * 4)])
            content = (tmp_path / "whole.pth").read_bytes()
            with torch.serialization.safe_globals([*safe()]):
                held = torch.load(plain_copy(path, content), weights_only=True)
            assert "x" in held

    @pytest.mark.parametrize("name", ["data.pkl", "data/0", "version", "data/extra"])
    def test_what_unpacks_to_more_than_the_file(self, name, tmp_path, sevennet_file):
        """A quarter of a gigabyte of zeros in a quarter of a megabyte."""
        path = tmp_path / "bomb.pth"
        zeros = b"\0" * (1 << 28)
        changed, added = ({}, [("{}/" + name, zeros)]) if "extra" in name else ({name: zeros}, ())
        with_records(path, sevennet_file(), changed, added, zipfile.ZIP_DEFLATED)
        del zeros, changed, added
        assert path.stat().st_size < 1 << 20
        tracemalloc.start()
        with pytest.raises(ModelError, match=r"not an archive that torch wrote \(it unpacks to"):
            inspect(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
        tracemalloc.stop()

    def test_members_that_overlap(self, tmp_path, sevennet_file):
        """One stretch of the file under many names, which unpacks to as many times as much."""
        path = tmp_path / "bomb.pth"
        with_records(path, sevennet_file(), added=[("{}/data/zz0", b"\0" * (1 << 20))])
        content = path.read_bytes()
        start, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
        last = content[content.rindex(b"PK\x01\x02") : end]
        more = [last.replace(b"data/zz0", b"data/z%02d" % k) for k in range(50)]
        directory = content[start:end] + b"".join(more)
        count = struct.unpack("<H", content[end + 10 : end + 12])[0] + len(more)
        tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
        path.write_bytes(content[:start] + directory + tail)
        assert len(zipfile.ZipFile(path).namelist()) == count
        with pytest.raises(ModelError, match="it unpacks to"):
            inspect(path)

    def test_a_file_larger_than_any_checkpoint(self, tmp_path):
        path = tmp_path / "huge.pth"
        with path.open("wb") as file:
            file.truncate(1 << 40)  # a hole, which takes no room on the disk
        with pytest.raises(ModelError, match="no checkpoint has more than"):
            inspect(path)

    @pytest.mark.parametrize("part", [0.0, 1e-4, 0.1, 0.5, 0.9, 0.999])
    def test_truncated_ones(self, part, tmp_path, canary):
        whole = locate_sevennet("7net-0").read_bytes()
        path = tmp_path / "half.pth"
        path.write_bytes(whole[: int(part * len(whole))])
        refused(path, canary)
        refused(path, canary, trust_checkpoint=True)


def safe():
    from mpprobe.models.plain import safe_names

    return safe_names()


def test_flipped_bytes_end_in_one_line_or_load(tmp_path, sevennet_file, record_property):
    """Any byte of the pickle changed: a model, or one line; never a crash of another kind."""
    with zipfile.ZipFile(sevennet_file()) as archive:
        data = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
    path, places = tmp_path / "flipped.pth", range(2, len(data), max(1, len(data) // 60))
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 0x11
        with_records(path, sevennet_file(), {"data.pkl": bytes(changed)})
        with contextlib.suppress(ModelError, NotPlainError):
            plain_copy(path, path.read_bytes())
    record_property("tried", len(places))
