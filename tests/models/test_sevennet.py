"""SevenNet as mpprobe runs it against SevenNet as its own calculator runs it."""

import numpy as np
import pytest
import torch
from ase import Atoms

import mpprobe
from mpprobe.errors import ModelError

ONE_ATOM = Atoms("Mg", cell=[[0, 2.1, 2.2], [2.1, 0, 2.0], [2.2, 2.1, 0]], pbc=True)


@pytest.fixture(scope="module")
def calculator(own_calculator):
    return own_calculator("7net-0")


@pytest.fixture(scope="module")
def structures(ionic_cells):
    """A crystal, a slab, a cluster and a one-atom cell."""
    return [*ionic_cells, ONE_ATOM]


def assert_same_as_calculator(potential, calculator, structures):
    """To the rounding of float32, in which both of them compute."""
    for atoms in structures:
        output = potential.run(potential.batch(atoms), forces=True)
        calculator.calculate(atoms)
        own = calculator.results
        assert output.energies.item() == pytest.approx(own["energy"], abs=2e-5 * len(atoms))
        np.testing.assert_allclose(output.site_energies.numpy(), own["energies"], atol=2e-5)
        np.testing.assert_allclose(output.forces.numpy(), own["forces"], atol=2e-5)


def test_energies_and_forces_are_its_calculators(sevenn_0, calculator, structures):
    assert_same_as_calculator(sevenn_0, calculator, structures)


def test_node_features_are_what_a_hook_on_its_own_model_sees(sevenn_0, calculator, structures):
    model = calculator.model
    names = ["onehot_to_feature_x", *(f"{t}_equivariant_gate" for t in range(5))]
    for atoms in structures:
        seen = []
        hooks = [
            model._modules[name].register_forward_hook(
                lambda module, data, output: seen.append(output["x"].detach().clone())  # noqa: B023 - called within the loop
            )
            for name in names
        ]
        calculator.calculate(atoms)
        for hook in hooks:
            hook.remove()
        features = sevenn_0.run(sevenn_0.batch(atoms), range(6), energies=False).features
        assert len(seen) == len(features) == 6
        for t, value in features.items():
            torch.testing.assert_close(value, seen[t], atol=2e-5, rtol=2e-5)


def test_site_energies_are_linear_in_the_last_layer(sevenn_0, ionic_cells):
    """E_i = scale (w · x_i) + shift[z_i]: the whole readout of SevenNet-0."""
    batch = sevenn_0.batch(ionic_cells[0])
    readout = sevenn_0.module.rescale_atomic_energy
    types = torch.tensor([sevenn_0.module.type_map[int(z)] for z in batch.numbers])
    shift = readout.shift[types]
    whole = sevenn_0.run(batch).site_energies - shift
    for factor in (0.0, 0.5, -2.0):
        part = sevenn_0.run(batch, edits={5: lambda x, a=factor: a * x}).site_energies - shift
        torch.testing.assert_close(part, factor * whole, atol=1e-5, rtol=1e-5)


def test_each_fidelity_is_its_calculators(structures, own_calculator, quick_builds):
    calculator = own_calculator("7net-mf-0", modal="PBE")
    energies = {}
    for modal in ("PBE", "R2SCAN"):
        potential = mpprobe.load("sevenn-mf-0", modal=modal)
        assert potential.provenance["modal"] == modal
        calculator.modal = modal
        assert_same_as_calculator(potential, calculator, structures)
        energies[modal] = potential.run(potential.batch(structures)).energies
    assert (energies["PBE"] - energies["R2SCAN"]).abs().min() > 0.1


ARCHITECTURES = {
    "both parities": {
        "irreps_manual": ["6x0e", "6x0e+2x0o+3x1o+2x2e", "6x0e"],
        "is_parity": True,
    },
    "one layer, linear self-connection, MLP readout": {
        "num_convolution_layer": 1,
        "self_connection_type": "linear",
        "readout_as_fcn": True,
        "readout_fcn_hidden_neurons": [8, 8],
        "readout_fcn_activation": "relu",
    },
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures_keep_the_contract(name, sevennet_file, ionic_cells):
    changes = ARCHITECTURES[name]
    potential = mpprobe.load(sevennet_file(f"{name}.pth", **changes), dtype="float64")
    mpprobe.check_potential(potential, ionic_cells)
    assert len(potential.layers) == 1 + changes.get("num_convolution_layer", 2)


class TestRefusals:
    @staticmethod
    def refusal(model, **options):
        with pytest.raises(ModelError) as caught:
            mpprobe.load(model, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_a_missing_fidelity(self):
        message = self.refusal("sevenn-mf-0")
        assert message.startswith("sevenn-mf-0: needs --modal; choose one of ")
        assert {"PBE", "R2SCAN"} == set(message.rpartition("one of ")[2].split(", "))

    def test_an_unknown_fidelity(self):
        message = self.refusal("sevenn-mf-0", modal="LDA")
        assert "doesn't have the modal 'LDA'; choose one of " in message

    def test_a_fidelity_of_a_model_without_any(self):
        message = self.refusal("sevenn-0", modal="PBE")
        assert message == "sevenn-0: has no fidelities to choose from; leave out --modal PBE"

    def test_a_head(self):
        message = self.refusal("sevenn-0", head="pt")
        assert message == (
            "sevenn-0: SevenNet models have no heads; choose a fidelity with --modal"
        )

    @pytest.mark.parametrize(
        ("kernel", "switch"),
        [
            ("cuEquivariance", {"cuequivariance_config": {"use": True}}),
            ("FlashTP", {"use_flash_tp": True}),
            ("OpenEquivariance", {"use_oeq": True}),
        ],
    )
    def test_a_fused_kernel(self, kernel, switch, sevennet_file, tmp_path, quick_builds):
        content = torch.load(sevennet_file(), weights_only=False)
        content["config"].update(switch)
        torch.save(content, tmp_path / "fused.pth")
        message = self.refusal(tmp_path / "fused.pth")
        assert message.startswith(f"fused.pth: saved with {kernel} switched on")
