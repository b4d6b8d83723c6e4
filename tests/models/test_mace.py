"""MACE as mpprobe runs it against MACE as its own calculator and its own forward pass run it."""

import gzip
import inspect
import json
import pickle
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from e3nn import o3

import mpprobe
from mpprobe.errors import ModelError, TrustError
from mpprobe.models.mace import _mace_imported
from mpprobe.models.options import quiet_library

DATA = Path(__file__).parents[1] / "data"
HIDDEN = ["8x0e", "8x0e+8x1o", "8x0e+8x1o+8x2e"]


def own_calculator(path, **options):
    """mace's own calculator of the model in the file."""
    with quiet_library():
        from mace.calculators import MACECalculator

        module = torch.load(path, weights_only=False, map_location="cpu")
        return MACECalculator(models=[module], device="cpu", default_dtype="float64", **options)


class TestPickledUnderAnOlderE3nn:
    """The golden file was saved whole, with mace-torch and the e3nn 0.4.4 that it pins."""

    def test_it_gives_the_energies_and_forces_it_gave_then(self):
        golden = json.loads((DATA / "mace_e3nn044.json").read_text())
        assert golden["e3nn"] == "0.4.4"
        potential = mpprobe.load(DATA / "mace_e3nn044.model", trust_checkpoint=True)
        assert potential.dtype == torch.float64
        for then in golden["structures"]:
            keys = ("symbols", "positions", "cell", "pbc")
            atoms = Atoms(**{key: then[key] for key in keys})
            output = potential.run(potential.batch(atoms), forces=True)
            assert output.energies.item() == pytest.approx(then["energy"], abs=1e-10)
            np.testing.assert_allclose(output.forces.numpy(), then["forces"], atol=1e-10)

    def test_it_is_refused_untrusted(self):
        with pytest.raises(TrustError, match=r"mace_e3nn044.model: loading this checkpoint"):
            mpprobe.load(DATA / "mace_e3nn044.model")


class TestAgainstMace:
    @pytest.fixture(params=HIDDEN)
    def path(self, request, mace_file):
        return mace_file(request.param)

    @pytest.fixture
    def potential(self, path):
        return mpprobe.load(path, dtype="float64", trust_checkpoint=True)

    def test_energies_and_forces_are_its_calculators(self, path, potential, ionic_cells):
        calculator = own_calculator(path)
        for atoms in ionic_cells:
            output = potential.run(potential.batch(atoms), forces=True)
            calculator.calculate(atoms)
            own = calculator.results
            assert output.energies.item() == pytest.approx(own["energy"], abs=1e-9)
            np.testing.assert_allclose(output.site_energies.numpy(), own["energies"], atol=1e-9)
            np.testing.assert_allclose(output.forces.numpy(), own["forces"], atol=1e-9)

    def test_features_are_the_slices_of_its_own(self, path, potential, ionic_cells):
        """``node_feats`` of its forward pass are the layers side by side."""
        calculator = own_calculator(path)
        for atoms in ionic_cells:
            batch = calculator._clone_batch(calculator._atoms_to_batch(atoms))
            own = calculator.models[0](batch.to_dict())["node_feats"].detach()
            layers = potential.layers[1:]
            assert own.shape[1] == sum(layer.dim for layer in layers)
            features = potential.run(potential.batch(atoms), [1, 2], energies=False).features
            parts = own.split([layer.dim for layer in layers], dim=1)
            for layer, part in zip(layers, parts, strict=True):
                torch.testing.assert_close(features[layer.index], part, atol=1e-10, rtol=1e-10)

    def test_running_leaves_the_batch_alone(self, potential, ionic_cells):
        """mace itself switches on gradients in the positions that it is given."""
        batch = potential.batch(ionic_cells)
        potential.run(batch, [1])
        potential.run(batch, [1], forces=True)
        assert not batch.positions.requires_grad


def test_the_older_file_format_too(mace_file, tmp_path, ionic_cells):
    """Such a file holds, whole, the TorchScript archives that e3nn makes."""
    older = tmp_path / "older.model"
    content = torch.load(mace_file("8x0e"), weights_only=False)
    torch.save(content, older, _use_new_zipfile_serialization=False)
    both = [mpprobe.load(f, trust_checkpoint=True) for f in (older, mace_file("8x0e"))]
    energies = [p.run(p.batch(ionic_cells)).energies for p in both]
    torch.testing.assert_close(*energies)


@pytest.fixture(scope="module")
def two_heads(mace_file, tmp_path_factory):
    """A model with two heads, of different energy scales and references."""
    path = tmp_path_factory.mktemp("heads") / "two-heads.model"
    one_head = torch.load(mace_file("8x0e"), weights_only=False)
    with _mace_imported(), torch.random.fork_rng(devices=[]):
        from mace.tools.scripts_utils import extract_config_mace_model

        config = extract_config_mace_model(one_head)
        energies = config["atomic_energies"].reshape(1, -1)
        config |= {
            "heads": ["pbe", "r2scan"],
            "atomic_energies": np.concatenate([energies, energies - 0.5]),
            "atomic_inter_scale": [0.5, 0.7],
            "atomic_inter_shift": [0.1, -0.3],
        }
        torch.manual_seed(7)
        torch.save(type(one_head)(**config), path)
    return path


class TestHeads:
    def test_each_head_has_its_own_energies(self, two_heads, ionic_cells):
        seen = {}
        for head in ("pbe", "r2scan"):
            options = {"dtype": "float64", "trust_checkpoint": True}
            potential = mpprobe.load(two_heads, head=head, **options)
            assert potential.provenance["head"] == head
            calculator = own_calculator(two_heads, head=head)
            output = potential.run(potential.batch(ionic_cells), forces=True)
            seen[head] = output.energies
            for atoms, energy in zip(ionic_cells, output.energies, strict=True):
                calculator.calculate(atoms)
                assert energy.item() == pytest.approx(calculator.results["energy"], abs=1e-9)
        assert (seen["pbe"] - seen["r2scan"]).abs().min() > 0.1

    def test_random_weights_keep_the_head(self, two_heads):
        fresh = mpprobe.load(f"random:{two_heads}:2", head="r2scan", trust_checkpoint=True)
        assert fresh.provenance["head"] == "r2scan"
        assert fresh.module.scale_shift.scale.tolist() == pytest.approx([0.5, 0.7])

    def test_a_missing_head(self, two_heads):
        with pytest.raises(ModelError) as caught:
            mpprobe.load(two_heads, trust_checkpoint=True)
        assert str(caught.value) == (
            "two-heads.model: has several heads; choose with --head one of pbe, r2scan"
        )

    def test_an_unknown_head(self, two_heads, mace_file):
        for path in (two_heads, mace_file("8x0e")):
            with pytest.raises(ModelError, match=r"has no head 'ccsd'; choose with --head one of"):
                mpprobe.load(path, head="ccsd", trust_checkpoint=True)

    def test_the_only_head_may_be_named(self, mace_file):
        mpprobe.load(mace_file("8x0e"), head="Default", trust_checkpoint=True)


class TestRefusals:
    @pytest.fixture
    def refusal(self, tmp_path):
        """The one line with which a file of this content is refused."""

        def message(content, **options):
            path = tmp_path / "other.model"
            torch.save(content, path)
            with pytest.raises(ModelError) as caught:
                mpprobe.load(path, trust_checkpoint=True, **options)
            assert "\n" not in str(caught.value)
            return str(caught.value)

        return message

    @pytest.fixture
    def module(self, mace_file):
        return torch.load(mace_file("8x0e"), weights_only=False)

    def test_a_state_dict(self, refusal, module):
        assert "not a checkpoint of a known family" in refusal(module.state_dict())

    def test_a_training_checkpoint(self, refusal, module):
        content = {"model": module.state_dict(), "class": type(module)}
        assert "is a dict; mpprobe reads MACE and ScaleShiftMACE models" in refusal(content)

    def test_a_model_without_energies(self, refusal, module):
        from mace.modules import AtomicDipolesMACE
        from mace.tools.scripts_utils import extract_config_mace_model

        known = inspect.signature(AtomicDipolesMACE).parameters
        config = extract_config_mace_model(module)
        config = {key: value for key, value in config.items() if key in known}
        config |= {
            "hidden_irreps": o3.Irreps("8x0e+8x1o"),
            "atomic_energies": None,
            "atomic_numbers": module.atomic_numbers.tolist(),
        }
        with quiet_library():
            dipoles = AtomicDipolesMACE(**config)
        message = refusal(dipoles)
        assert message.startswith("other.model: is a AtomicDipolesMACE; mpprobe reads MACE and")

    def test_a_model_converted_to_another_kernel(self, refusal, module):
        from mace.modules.wrapper_ops import CuEquivarianceConfig

        kernel = CuEquivarianceConfig(enabled=True)
        kernel.enabled = True  # switched off again where the package isn't installed
        module.products[0].cueq_config = kernel
        assert "is converted to cuEquivariance, whose layout differs" in refusal(module)

    def test_a_model_that_wants_a_total_charge(self, refusal, module):
        module.joint_embedding = torch.nn.Identity()
        assert "takes more than the structure as input" in refusal(module)

    def test_a_modal(self, refusal, module):
        message = refusal(module, modal="PBE")
        assert message == "other.model: MACE models have no modals; choose a head with --head"

    def test_a_class_that_mace_has_no_more(self, mace_file, tmp_path):
        content = pickle.dumps(torch.load(mace_file("8x0e"), weights_only=False))
        path = tmp_path / "old.model"
        path.write_bytes(content.replace(b"ScaleShiftMACE", b"SomeOtherMACE!"))
        with pytest.raises(ModelError, match="mace can't unpickle this model") as caught:
            mpprobe.load(path, trust_checkpoint=True)
        assert "\n" not in str(caught.value)

    def test_random_weights_of_a_class_that_mace_cannot_describe(self, mace_file, tmp_path):
        import mace.modules

        module = torch.load(mace_file("8x0e"), weights_only=False)
        module.__class__ = mace.modules.MACE
        torch.save(module, tmp_path / "plain.model")
        with pytest.raises(ModelError, match="can't read the configuration of a MACE"):
            mpprobe.load(f"random:{tmp_path / 'plain.model'}", trust_checkpoint=True)


@pytest.fixture(scope="module")
def trained(shared_data):
    path = shared_data / "mace-tutorial" / "mace01_swa.model"
    return mpprobe.load(path, trust_checkpoint=True)


@pytest.fixture(scope="module")
def solvent(shared_data):
    with gzip.open(shared_data / "mace-tutorial" / "solvent_xtb_test.extxyz.gz", "rt") as file:
        return ase.io.read(file, ":12", format="extxyz")


class TestATrainedModelOfAThirdParty:
    """Trained on carbonate solvents (imagdau/Tutorials), pickled whole under an older e3nn."""

    def test_it_needs_trust(self, shared_data):
        with pytest.raises(TrustError):
            mpprobe.load(shared_data / "mace-tutorial" / "mace01_swa.model")

    def test_its_force_error_is_the_one_known(self, trained, solvent):
        """0.146 eV/Å, the mean over the first 12 frames of its own test set of their errors."""
        output = trained.run(trained.batch(solvent), forces=True)
        forces = np.split(output.forces.numpy(), np.cumsum([len(a) for a in solvent])[:-1])
        errors = [
            np.abs(f - a.arrays["forces_xtb"]).mean() for f, a in zip(forces, solvent, strict=True)
        ]
        assert np.mean(errors) == pytest.approx(0.146, abs=0.001)

    def test_it_keeps_the_contract(self, trained, solvent):
        assert trained.species == (1, 6, 8)
        smallest = sorted(solvent, key=len)[:2]
        assert set(np.concatenate([atoms.numbers for atoms in smallest])) == {1, 6, 8}
        periodic = smallest[0].copy()
        periodic.center(vacuum=1.0)
        periodic.pbc = True
        mpprobe.check_potential(trained, [*smallest, periodic])
