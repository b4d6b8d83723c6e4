"""Names, paths and options: what `mpprobe.load` takes, and what it says to everything else."""

import json
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from ase import Atoms

import mpprobe
from mpprobe.errors import MissingPackageError, ModelError
from mpprobe.models import Family, ModelSpec, named_models, registry
from mpprobe.models.families import MACE_FILES, SEVENN_FILES, locate_sevennet
from mpprobe.models.registry import all_families, canonical

pytestmark = pytest.mark.usefixtures("quick_builds")

CRYSTAL = Atoms("NaCl", positions=[[0, 0, 0], [2.6, 0.1, 0.2]], cell=[5.2, 5.0, 5.1], pbc=True)
BUNDLED = ["sevenn-0", "sevenn-0-22may2024", "sevenn-l3i5", "sevenn-mf-0"]


def refusal(model, **options):
    """The one line with which loading is refused."""
    with pytest.raises(ModelError) as caught:
        mpprobe.load(model, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestNames:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("sevenn-0", "sevenn-0"),
            ("SevenNet-0", "sevenn-0"),
            ("7net-0", "sevenn-0"),
            ("sevenn_0", "sevenn-0"),
            (" Sevenn 0 ", "sevenn-0"),
            ("7NET-0_11July2024", "sevenn-0"),
            ("7net-0_11jul2024", "sevenn-0"),
            ("7net-0_22may2024", "sevenn-0-22may2024"),
            ("7net-l3i5", "sevenn-l3i5"),
            ("SevenNet-MF-0", "sevenn-mf-0"),
            ("7net-omni-i12", "sevenn-omni-i12"),
            ("MACE-MP-0", "mace-mp-0-medium"),
            ("mace_mp_0a_small", "mace-mp-0-small"),
            ("mace-off-large", "mace-off23-large"),
        ],
    )
    def test_usual_spellings(self, text, name):
        _, spec = registry._resolve(text)
        assert spec.name == name

    def test_no_two_models_share_a_spelling(self):
        spellings = [canonical(s) for _, m in named_models().values() for s in (m.name, *m.aliases)]
        assert len(spellings) == len(set(spellings))

    @pytest.mark.parametrize(
        ("text", "meant"),
        [("sevenn-o", "sevenn-0"), ("sevnet-mf-0", "sevenn-mf-0"), ("mace-mp0", "mace-mp-0")],
    )
    def test_an_unknown_name_gets_a_suggestion(self, text, meant):
        message = refusal(text)
        assert message.startswith(f"{text}: no model of this name")
        assert meant in message.partition("did you mean")[2]

    def test_a_name_like_no_other_points_to_the_list(self):
        assert "see `mpprobe models`" in refusal("quux")

    def test_a_file_of_a_model_s_name_does_not_stand_in_for_it(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("sevenn-0").write_text("notes")
        _, source = registry._resolve("sevenn-0")
        assert isinstance(source, ModelSpec)


class TestPaths:
    def test_no_such_file(self, tmp_path):
        assert refusal(tmp_path / "no.pth") == f"{tmp_path / 'no.pth'}: no such checkpoint file"

    def test_a_folder(self, tmp_path):
        assert "a folder; give the checkpoint file in it" in refusal(tmp_path)

    def test_a_text_file(self, tmp_path):
        path = tmp_path / "notes.model"
        path.write_text("energies in eV\n")
        assert refusal(path).startswith(f"{path}: not a checkpoint of a known family")

    def test_an_empty_file(self, tmp_path):
        path = tmp_path / "empty.pth"
        path.touch()
        assert refusal(path).startswith(f"{path}: not a checkpoint of a known family")

    def test_a_truncated_checkpoint(self, tmp_path, sevennet_file):
        path = tmp_path / "half.pth"
        whole = sevennet_file().read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert refusal(path).startswith(f"{path}: a truncated zip archive")

    def test_a_truncated_pickle(self, tmp_path, sevennet_file):
        path = tmp_path / "half.pth"
        content = torch.load(sevennet_file(), weights_only=False)
        torch.save(content, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:1000])
        assert refusal(path).startswith(f"{path}: not a readable PyTorch checkpoint")

    def test_a_zip_archive_of_something_else(self, tmp_path):
        path = tmp_path / "archive.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("notes.txt", "energies in eV")
        assert refusal(path) == f"{path}: a zip archive without a PyTorch checkpoint inside"

    def test_a_torchscript_archive(self, tmp_path):
        path = tmp_path / "deployed.pt"
        torch.jit.script(torch.nn.Linear(2, 1)).save(path)
        assert "a TorchScript archive; its layers can't be hooked" in refusal(path)

    def test_a_module_of_no_family(self, tmp_path):
        path = tmp_path / "linear.pt"
        torch.save(torch.nn.Linear(2, 1), path)
        assert "not a checkpoint of a known family (sevennet, mace)" in refusal(path)

    def test_a_file_needs_no_suffix_and_no_slash(self, tmp_path, monkeypatch, sevennet_file):
        (tmp_path / "mine").write_bytes(sevennet_file().read_bytes())
        monkeypatch.chdir(tmp_path)
        family, source = registry._resolve("mine")
        assert (family.name, source.path) == ("sevennet", Path("mine"))

    def test_the_home_folder_may_be_a_tilde(self, tmp_path, monkeypatch, sevennet_file):
        (tmp_path / "mine.pth").write_bytes(sevennet_file().read_bytes())
        monkeypatch.setenv("HOME", str(tmp_path))
        _, source = registry._resolve("~/mine.pth")
        assert source.path == tmp_path / "mine.pth"


class TestRandom:
    def test_without_a_model(self):
        message = refusal("random:")
        assert message == ("random:: write random:MODEL or random:MODEL:SEED, SEED a whole number")

    @pytest.mark.parametrize("seed", ["x", "-1", "1.5", ""])
    def test_with_no_whole_number_for_a_seed(self, seed):
        assert "did you mean sevenn-0" in refusal(f"random:sevenn-0:{seed}")


class TestOptions:
    @pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "meta"])
    def test_unknown_devices(self, device, sevennet_file):
        message = refusal(sevennet_file(), device=device)
        assert message == f"device {device!r}: choose auto, cpu, cuda, cuda:N or mps"

    def test_a_device_that_is_not_there(self, sevennet_file):
        assert "not there on this machine" in refusal(sevennet_file(), device="cuda:99")

    @pytest.mark.parametrize("dtype", ["half", "float16", "double", 64])
    def test_unknown_dtypes(self, dtype, sevennet_file):
        message = refusal(sevennet_file(), dtype=dtype)
        assert message == f"dtype {dtype!r}: choose float32 or float64"

    def test_the_dtype_is_the_one_asked_for(self, sevennet_file):
        for dtype in (torch.float32, torch.float64):
            potential = mpprobe.load(sevennet_file(), dtype=str(dtype).removeprefix("torch."))
            output = potential.run(potential.batch(CRYSTAL), layers=[0, 1, 2])
            assert {value.dtype for value in output.features.values()} == {dtype}

    def test_a_missing_package_comes_with_the_line_that_installs_it(
        self, sevennet_file, monkeypatch
    ):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingPackageError, match=r"pip install .*mpprobe\[sevenn\]"):
            mpprobe.load(sevennet_file())


@pytest.fixture
def fresh_families():
    """The families are looked up once a process: forget them before and after."""
    all_families.cache_clear()
    yield
    all_families.cache_clear()


@pytest.fixture
def third_party(tmp_path, monkeypatch, fresh_families, mace_file):
    """An installed package that adds a family; given its code, the registry finds it."""

    def install(code):
        (tmp_path / "thirdparty.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "thirdparty", raising=False)
        point = EntryPoint("third", "thirdparty:FAMILY", registry.ENTRY_POINTS)
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])

    return install


THIRD_PARTY = """
from mpprobe.models import Family, ModelSpec
from mpprobe.models.trust import inspect

FILE = {file!r}

def locate(upstream):
    return FILE

def recognises(file):
    return "third" in file.strings

def load(source, *, name, trust_checkpoint, **options):
    from mpprobe.models.mace import load
    return load(inspect(FILE), name=name, trust_checkpoint=True, **options)

SPEC = ModelSpec("third-0", "third", "MIT", "nothing", "inside thirdparty", "thirdparty:locate")
FAMILY = Family("third", "thirdparty", "thirdparty:load", "thirdparty:recognises", (SPEC,))
"""


class TestThirdParties:
    def test_a_family_is_added_by_an_entry_point(self, third_party, mace_file):
        third_party(THIRD_PARTY.format(file=str(mace_file("8x0e"))))
        family, spec = named_models()["third-0"]
        assert isinstance(family, Family)
        assert spec.available
        potential = mpprobe.load("Third_0", dtype="float32")
        assert (potential.name, potential.dtype) == ("third-0", torch.float32)
        assert potential.run(potential.batch(CRYSTAL)).energies.isfinite().all()

    def test_the_built_in_ones_come_first_and_stay(self, third_party, mace_file):
        third_party(THIRD_PARTY.format(file=str(mace_file("8x0e"))))
        assert [f.name for f in all_families()] == ["sevennet", "mace", "third"]

    def test_a_file_can_be_of_the_added_family(self, third_party, mace_file, tmp_path):
        third_party(THIRD_PARTY.format(file=str(mace_file("8x0e"))))
        torch.save({"third": 1}, tmp_path / "third.ckpt")
        assert mpprobe.load(tmp_path / "third.ckpt").name == "third.ckpt"

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("import nosuchmodule", "can't be loaded (ModuleNotFoundError"),
            ("FAMILY = 'third'", "is a str, and should be a mpprobe.models.Family"),
        ],
    )
    def test_a_broken_package_is_named(self, third_party, code, reason):
        third_party(code)
        message = refusal("sevenn-0")
        assert message.startswith("entry point third = thirdparty:FAMILY: ")
        assert reason in message


class TestFacts:
    def test_named_models_need_no_torch(self):
        code = (
            "import json, sys, mpprobe\n"
            "rows = {n: m.available for n, (_, m) in mpprobe.named_models().items()}\n"
            "heavy = [m for m in ('torch', 'e3nn', 'sevenn', 'mace') if m in sys.modules]\n"
            "print(json.dumps([rows, heavy]))"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        rows, heavy = json.loads(run.stdout)
        assert heavy == []
        assert rows.keys() == named_models().keys()
        assert all(rows[name] for name in BUNDLED)

    @pytest.mark.parametrize("name", BUNDLED)
    def test_bundled_models_are_what_the_registry_says(self, name, sevenn_0):
        _, spec = named_models()[name]
        modal = spec.modals[0] if spec.modals else None
        potential = sevenn_0 if name == "sevenn-0" else mpprobe.load(name, modal=modal)
        assert tuple(layer.irreps for layer in potential.layers) == spec.irreps
        assert potential.cutoff == spec.cutoff
        assert set(potential.module.modal_map or ()) == set(spec.modals)
        assert potential.provenance["checkpoint"] == Path(SEVENN_FILES[spec.upstream]).name

    def test_sevenn_keeps_its_files_where_the_registry_looks(self, monkeypatch):
        import sevenn._const
        import sevenn.util

        monkeypatch.setattr(sevenn.util, "download_checkpoint", lambda path, url: path)
        assert set(sevenn.util.get_available_pretrained_models()) == set(SEVENN_FILES)
        for upstream, file in SEVENN_FILES.items():
            path = sevenn.util.pretrained_name_to_path(upstream)
            assert Path(path).relative_to(sevenn._const._prefix) == Path(file)
            found = locate_sevennet(upstream)
            assert found is None or found.samefile(path)

    def test_mace_files_are_those_of_mace_s_own_addresses(self, mace_file):
        mace_file("8x0e")  # imports mace without what that does to the process
        from mace.calculators.foundations_models import mace_mp_urls, mace_off_urls

        addresses = {
            **mace_mp_urls,
            **{f"off23-{size}": url for size, url in mace_off_urls.items()},
        }
        assert {u: addresses[u].rpartition("/")[2] for u in MACE_FILES} == MACE_FILES

    def test_every_named_model_has_a_file(self):
        families = {family.name: family for family in all_families()}
        assert {m.upstream for m in families["sevennet"].models} == set(SEVENN_FILES)
        assert {m.upstream for m in families["mace"].models} == set(MACE_FILES)
