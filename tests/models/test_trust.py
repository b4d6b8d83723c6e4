"""Nothing in a file is run before the user says that it may be."""

import collections
import decimal
import fractions
import io
import json
import os
import pathlib
import pickle
import pickletools
import subprocess
import sys

import numpy as np
import pytest
import torch

import mpprobe
from mpprobe.errors import ModelError, TrustError
from mpprobe.models import named_models
from mpprobe.models.families import is_mace, is_sevennet, locate_sevennet
from mpprobe.models.trust import KNOWN_SHA256, _scan, file_sha256, inspect

pytestmark = pytest.mark.usefixtures("quick_builds")

GOLDEN = pathlib.Path(__file__).parents[1] / "data" / "mace_e3nn044.model"
FORCE_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def like_sevennet(canary):
    config = {"cutoff": 5.0, "version": "0.13.0", "evil": Evil(canary)}
    return {"config": config, "model_state_dict": {"w": torch.zeros(2)}}


def like_mace(canary):
    from mace.modules import ScaleShiftMACE

    return {"evil": Evil(canary), "class": ScaleShiftMACE}


def as_zip(content, path):
    torch.save(content, path)


def as_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


class TestMaliciousFiles:
    @pytest.fixture
    def canary(self, tmp_path):
        return tmp_path / "canary"

    @pytest.fixture(params=[as_zip, as_legacy, as_pickle])
    def write(self, request):
        return request.param

    @pytest.fixture(params=[like_sevennet, like_mace])
    def malicious(self, request, write, canary, tmp_path, mace_file):
        mace_file("8x0e")  # imports mace without what that does to the process
        path = tmp_path / "gift.pth"
        write(request.param(canary), path)
        return path

    def test_they_are_refused_and_nothing_runs(self, malicious, canary):
        with pytest.raises(TrustError, match="loading this checkpoint can run any code") as caught:
            mpprobe.load(malicious)
        assert not canary.exists()
        message = str(caught.value)
        assert "\n" not in message
        assert str(malicious) in message
        assert file_sha256(malicious)[:16] in message
        assert "--trust-checkpoint" in message

    def test_they_do_run_once_trusted(self, malicious, canary):
        """The other side of the coin, without which the test above could not fail."""
        with pytest.raises(ModelError) as caught:
            mpprobe.load(malicious, trust_checkpoint=True)
        assert canary.exists()
        assert "\n" not in str(caught.value)

    def test_of_no_family_they_are_never_loaded(self, write, canary, tmp_path):
        path = tmp_path / "gift.pth"
        write(Evil(canary), path)
        with pytest.raises(ModelError, match="not a checkpoint of a known family"):
            mpprobe.load(path, trust_checkpoint=True)
        assert not canary.exists()

    def test_random_weights_need_the_same_trust(self, malicious, canary):
        with pytest.raises(TrustError):
            mpprobe.load(f"random:{malicious}")
        assert not canary.exists()


class TestKnownFiles:
    def test_those_in_the_sevenn_wheel_are_known(self):
        bundled = [m for _, m in named_models().values() if "wheel" in m.source]
        found = {file_sha256(locate_sevennet(m.upstream)) for m in bundled}
        assert len(found) == 4
        assert found == KNOWN_SHA256.keys()

    def test_a_known_file_is_known_by_its_bytes_not_its_name(self, tmp_path):
        copy = tmp_path / "renamed.pth"
        copy.write_bytes(locate_sevennet("7net-0").read_bytes())
        assert inspect(copy).known
        copy.write_bytes(copy.read_bytes() + b" ")
        assert not inspect(copy).known


class TestSevenNetNeedsNoTrust:
    """Its checkpoints are tensors and plain containers, which load without running anything."""

    def test_a_renamed_checkpoint(self, tmp_path, sevenn_0, ionic_cells):
        path = tmp_path / "renamed.pth"
        path.write_bytes(locate_sevennet("7net-0").read_bytes())
        renamed = mpprobe.load(path)
        assert renamed.provenance["sha256"] == sevenn_0.provenance["sha256"]
        energies = [p.run(p.batch(ionic_cells)).energies for p in (renamed, sevenn_0)]
        torch.testing.assert_close(*energies)

    def test_a_changed_checkpoint(self, tmp_path, sevenn_0, ionic_cells):
        """One shift of the real SevenNet-0 changed by 1 eV moves its atoms' energies by as much."""
        content = torch.load(locate_sevennet("7net-0"), weights_only=False, map_location="cpu")
        weights = content["model_state_dict"]
        shift = next(name for name in weights if name.endswith("shift"))
        sodium = content["config"]["_type_map"][11]
        weights[shift] = weights[shift].clone()
        weights[shift][sodium] += 1.0
        path = tmp_path / "changed.pth"
        torch.save(content, path)
        assert not inspect(path).known
        changed = mpprobe.load(path)
        site = [p.run(p.batch(ionic_cells[0])).site_energies for p in (changed, sevenn_0)]
        expected = torch.from_numpy(1.0 * (ionic_cells[0].numbers == 11)).float()
        torch.testing.assert_close(site[0] - site[1], expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("write", [as_zip, as_legacy])
    def test_the_older_format_too(self, write, tmp_path, sevennet_file, ionic_cells):
        path = tmp_path / "again.pth"
        write(torch.load(sevennet_file(), weights_only=False), path)
        again, first = mpprobe.load(path), mpprobe.load(sevennet_file())
        energies = [p.run(p.batch(ionic_cells)).energies for p in (again, first)]
        torch.testing.assert_close(*energies)

    @pytest.mark.parametrize(
        "change",
        [
            {"config": 1, "cutoff": 5.0},
            {"config": {}, "cutoff": 5.0},
            {"config": {"cutoff": 5.0}},
            {"model_state_dict": {"w": torch.zeros(2)}},
        ],
    )
    def test_one_that_makes_no_model_is_refused_in_a_line(self, change, tmp_path, sevennet_file):
        path = tmp_path / "broken.pth"
        torch.save({**torch.load(sevennet_file(), weights_only=False), **change}, path)
        with pytest.raises(ModelError, match=r"holds no configuration|can't build this") as caught:
            mpprobe.load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


class TestTheProcess:
    def test_loading_mace_opens_nothing_and_prints_nothing(self):
        """``import mace`` lets torch.load run code in the whole process; mpprobe undoes it."""
        code = (
            "import json, os, warnings, torch\n"
            "before = [dict(os.environ), str(torch.get_default_dtype()), len(warnings.filters)]\n"
            "import mpprobe\n"
            f"mpprobe.load({str(GOLDEN)!r}, trust_checkpoint=True)\n"
            "import mace\n"
            "after = [dict(os.environ), str(torch.get_default_dtype()), len(warnings.filters)]\n"
            f"print(json.dumps([before[1:] == after[1:], {FORCE_UNSAFE!r} in after[0]]))"
        )
        environment = {k: v for k, v in os.environ.items() if k != FORCE_UNSAFE}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env=environment
        )
        assert json.loads(run.stdout) == [True, False]

    def test_the_users_own_choice_stays(self, monkeypatch):
        monkeypatch.setenv(FORCE_UNSAFE, "0")
        mpprobe.load(GOLDEN, trust_checkpoint=True)
        assert os.environ[FORCE_UNSAFE] == "0"


class Recorder(pickle.Unpickler):
    """Unpickles for real, and writes down what was imported."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.imports = set()

    def find_class(self, module, name):
        self.imports.add(f"{module}.{name}")
        return super().find_class(module, name)


counter = collections.Counter
OBJECTS = {
    "plain": {"config": {"cutoff": 5.0}, "model_state_dict": [1, "two"]},
    "an instance": collections.OrderedDict(a=1),
    "classes": [fractions.Fraction, decimal.Decimal, collections.OrderedDict, pathlib.PurePath],
    "two names of one module": [collections.OrderedDict, collections.Counter, collections.deque],
    "one name twice": [decimal.Decimal, decimal.Decimal],
    # The pickler writes these texts once, and takes them from its memo for the class.
    "names that came before": [counter.__module__, "x", counter.__qualname__, "y", counter],
    "the name before": [counter.__qualname__, counter],
    "a frame between": ["x" * 70000, counter, "y" * 70000, decimal.Decimal],
    "arrays": {"shift": np.arange(3.0), "scale": np.float32(1.5)},
    "nested": [fractions.Fraction(1, 3), {"d": decimal.Decimal("1.5"), "p": pathlib.Path("x")}],
}


class TestScan:
    """The scan reads what unpickling would import, without unpickling."""

    @pytest.mark.parametrize("optimise", [False, True])
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("content", OBJECTS.values(), ids=OBJECTS)
    def test_imports_are_those_of_unpickling(self, content, protocol, optimise):
        data = pickle.dumps(content, protocol)
        data = pickletools.optimize(data) if optimise else data
        recorder = Recorder(data)
        recorder.load()
        imports, _ = _scan(data)
        assert imports == recorder.imports

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_strings_are_those_pickled(self, protocol):
        content = {"config": {"cutoff": 5.0, "é": ["π" * 300]}, "model_state_dict": "x" * 70000}
        _, strings = _scan(pickle.dumps(content, protocol))
        assert strings == {"config", "cutoff", "é", "π" * 300, "model_state_dict", "x" * 70000}

    @pytest.mark.parametrize("protocol", [2, 4, 5])
    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("size", [2, 128, 640])
    def test_any_way_of_saving_is_recognised(self, protocol, zipped, size, tmp_path, mace_file):
        """In the older format 128 numbers start with the byte that a pickle starts with."""
        mace_file("8x0e")
        from mace.modules import ScaleShiftMACE

        path = tmp_path / "file.pth"
        content = {"config": {"cutoff": 5.0}, "model_state_dict": {"w": torch.zeros(size)}}
        how = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
        torch.save(content, path, **how)
        assert is_sevennet(inspect(path))
        assert not is_mace(inspect(path))
        torch.save([ScaleShiftMACE.__module__, ScaleShiftMACE, torch.zeros(size)], path, **how)
        assert is_mace(inspect(path))
        assert not is_sevennet(inspect(path))
