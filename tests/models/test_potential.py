"""What `Potential.run` computes, stops at and can be differentiated through, on real models."""

import numpy as np
import pytest
import torch
from ase import Atoms

import mpprobe
from mpprobe.errors import ModelError
from mpprobe.models.hooks import Tap


@pytest.fixture(scope="module")
def mace(mace_file):
    """A MACE model with scalars and vectors, in float64 for sharp comparisons."""
    return mpprobe.load(mace_file("8x0e+8x1o"), dtype="float64", trust_checkpoint=True)


@pytest.fixture(params=["sevenn_0", "mace"])
def potential(request):
    return request.getfixturevalue(request.param)


def other(cells):
    """The same atoms, elsewhere."""
    moved = [atoms.copy() for atoms in cells]
    for atoms in moved:
        atoms.rattle(0.2, seed=5)
    return moved


def modules_that_run(potential, call):
    """Names of the model's own modules, in the order in which they ran during ``call``."""
    ran = []
    handles = [
        module.register_forward_hook(lambda *args, name=name: ran.append(name))
        for name, module in potential.module.named_modules()
        if name and "." not in name.removeprefix("products.").removeprefix("readouts.")
    ]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return ran


class TestWhatIsComputed:
    def test_only_what_is_asked_for(self, potential, ionic_cells):
        batch = potential.batch(ionic_cells)
        output = potential.run(batch, [1], energies=False)
        assert output.features.keys() == {1}
        assert (output.energies, output.site_energies, output.forces) == (None, None, None)
        output = potential.run(batch)
        assert output.features == {}
        assert output.energies.shape == (3,)
        assert output.site_energies.shape == (batch.n_atoms,)
        assert output.forces is None
        assert potential.run(batch, forces=True).forces.shape == (batch.n_atoms, 3)

    def test_nothing_asked_for_runs_nothing(self, potential, ionic_cells):
        batch = potential.batch(ionic_cells[0])
        assert modules_that_run(potential, lambda: potential.run(batch, energies=False)) == []

    def test_no_graph_is_kept_unless_asked_for(self, potential, ionic_cells):
        batch = potential.batch(ionic_cells[0])
        for options in ({"energies": False}, {}, {"forces": True}):
            output = potential.run(batch, [0, 1], **options)
            tensors = [*output.features.values(), output.energies, output.forces]
            assert not any(t.requires_grad for t in tensors if t is not None)
        assert batch.positions.grad is None
        assert not batch.positions.requires_grad

    def test_gradients_switched_off_outside_do_not_matter(self, potential, ionic_cells):
        batch = potential.batch(ionic_cells)
        forces = potential.run(batch, forces=True).forces
        with torch.no_grad():
            assert torch.equal(potential.run(batch, forces=True).forces, forces)
        assert forces.abs().max() > 1e-3

    def test_energies_are_those_with_forces(self, potential, ionic_cells):
        batch = potential.batch(ionic_cells)
        with_forces = potential.run(batch, forces=True)
        assert torch.equal(potential.run(batch).energies, with_forces.energies)

    @pytest.mark.parametrize("layer", [-1, 99])
    def test_unknown_layers(self, potential, layer, ionic_cells):
        last = len(potential.layers) - 1
        batch = potential.batch(ionic_cells[0])
        for asked in ({"layers": [layer]}, {"edits": {layer: lambda x: x}}):
            with pytest.raises(ModelError, match=f"has layers 0 to {last}"):
                potential.run(batch, **asked)


class TestStoppingEarly:
    def test_sevennet_stops_after_the_deepest_layer(self, sevenn_0, ionic_cells):
        batch = sevenn_0.batch(ionic_cells[0])
        sevenn_0.use_fast(False)
        try:
            ran = modules_that_run(sevenn_0, lambda: sevenn_0.run(batch, [1, 3], energies=False))
            assert ran[-1] == "2_equivariant_gate"
            assert "3_convolution" not in ran
            ran = modules_that_run(sevenn_0, lambda: sevenn_0.run(batch, [1, 3]))
            assert ran[-1] == "reduce_total_enegy"
        finally:
            sevenn_0.use_fast(True)

    def test_mace_stops_after_the_deepest_layer(self, mace, ionic_cells):
        batch = mace.batch(ionic_cells[0])
        ran = modules_that_run(mace, lambda: mace.run(batch, [1], energies=False))
        assert ran[-1] == "products.0"
        ran = modules_that_run(mace, lambda: mace.run(batch, [1]))
        assert "products.1" in ran
        assert ran[-1] == "scale_shift"

    def test_an_edit_counts_as_asked_for(self, mace, ionic_cells):
        batch = mace.batch(ionic_cells[0])
        seen = []
        mace.run(batch, [0], {2: lambda x: seen.append(x.shape) or x}, energies=False)
        assert seen == [(batch.n_atoms, mace.layers[2].dim)]


class TestEdits:
    def test_layers_before_the_edit_are_as_they_were(self, potential, ionic_cells):
        batch, every = potential.batch(ionic_cells), range(len(potential.layers))
        plain = potential.run(batch, every).features
        edited = potential.run(batch, every, {1: lambda x: 0.3 * x}).features
        assert torch.equal(edited[0], plain[0])
        for t in every[1:]:
            assert not torch.allclose(edited[t], plain[t])

    def test_edits_of_two_layers_compose(self, potential, ionic_cells):
        """The later one sees what the earlier one led to."""
        batch = potential.batch(ionic_cells)
        first, second = {1: lambda x: 0.3 * x}, {2: lambda x: x - 0.1}
        one = potential.run(batch, [1, 2], first)
        both = potential.run(batch, [1, 2], first | second, forces=True)
        assert torch.equal(both.features[1], one.features[1])
        assert torch.equal(both.features[2], one.features[2] - 0.1)
        # What was edited into the first layer reaches the rest only through the second.
        put_back = potential.run(batch, [2], {2: lambda x: both.features[2]}).features[2]
        assert torch.equal(put_back, both.features[2])

    def test_forces_are_the_gradient_of_the_edited_energy(self, mace, ionic_cells):
        edits = {1: lambda x: 0.3 * x, 2: lambda x: x * x}
        atoms = ionic_cells[2]
        forces = mace.run(mace.batch(atoms), edits=edits, forces=True).forces
        step, energies = 1e-4, []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[1, 2] += sign * step
            energies.append(mace.run(mace.batch(moved), edits=edits).energies.item())
        difference = (energies[0] - energies[1]) / (2 * step)
        assert forces[1, 2].item() == pytest.approx(-difference, abs=1e-7)

    def test_a_patched_last_layer_decides_sevennets_energies(self, sevenn_0, ionic_cells):
        """SevenNet reads its energies out of the last layer alone."""
        source, target = sevenn_0.batch(other(ionic_cells)), sevenn_0.batch(ionic_cells)
        given = sevenn_0.run(source, [5])
        patched = sevenn_0.run(target, edits={5: lambda x: given.features[5]}, forces=True)
        torch.testing.assert_close(patched.energies, given.energies)
        # Nothing that depends on where the atoms are is left.
        assert torch.equal(patched.forces, torch.zeros_like(patched.forces))

    def test_patching_all_layers_makes_one_structure_of_the_other(self, mace, ionic_cells):
        """MACE reads out of every layer, so that all of them together decide."""
        source, target = mace.batch(other(ionic_cells)), mace.batch(ionic_cells)
        given = mace.run(source, [1, 2])
        patches = {t: lambda x, t=t: given.features[t] for t in (1, 2)}
        torch.testing.assert_close(mace.run(target, edits=patches).energies, given.energies)
        only_last = mace.run(target, edits={2: patches[2]}).energies
        assert (only_last - given.energies).abs().min() > 1e-6

    def test_a_failing_edit_leaves_the_model_as_it_was(self, potential, ionic_cells):
        batch = potential.batch(ionic_cells[0])
        before = potential.run(batch, [1]).features[1]
        with pytest.raises(ModelError, match="an edit must keep the shape"):
            potential.run(batch, edits={1: lambda x: x[:, :-1]})
        with pytest.raises(ZeroDivisionError):
            potential.run(batch, edits={1: lambda x: 1 / 0})
        assert not any(module._forward_hooks for module in potential.module.modules())
        assert torch.equal(potential.run(batch, [1]).features[1], before)

    def test_a_tap_on_a_module_that_is_not_used_is_an_error(self, mace, ionic_cells, monkeypatch):
        unused = Tap(torch.nn.Identity(), lambda out: out, lambda out, new: new)
        monkeypatch.setattr(mace, "_tap", lambda layer: unused)
        with pytest.raises(ModelError, match="fired 0 times"):
            mace.run(mace.batch(ionic_cells[0]), [1])


class TestKeptGraph:
    @pytest.fixture
    def batch(self, mace, ionic_cells):
        batch = mace.batch(ionic_cells[2])
        batch.positions.requires_grad_()
        return batch

    @staticmethod
    def moved(mace, atoms, direction, step):
        atoms = atoms.copy()
        atoms.positions += step * direction
        return mace.batch(atoms)

    def test_a_hessian_vector_product_is_the_change_of_the_forces(self, mace, batch, ionic_cells):
        atoms = ionic_cells[2]
        direction = np.random.default_rng(0).normal(size=(len(atoms), 3))
        forces = mace.run(batch, forces=True, keep_graph=True).forces
        (product,) = torch.autograd.grad(
            forces, batch.positions, grad_outputs=torch.from_numpy(-direction)
        )
        ahead, behind = (
            mace.run(self.moved(mace, atoms, direction, step), forces=True).forces
            for step in (1e-4, -1e-4)
        )
        torch.testing.assert_close(product, -(ahead - behind) / 2e-4, atol=1e-6, rtol=1e-6)
        assert product.abs().max() > 1e-3

    def test_features_can_be_differentiated_by_the_positions(self, mace, batch, ionic_cells):
        atoms = ionic_cells[2]
        direction = np.random.default_rng(1).normal(size=(len(atoms), 3))
        features = mace.run(batch, [1], energies=False, keep_graph=True).features[1]
        weights = torch.from_numpy(np.random.default_rng(2).normal(size=features.shape))
        (gradient,) = torch.autograd.grad((weights * features).sum(), batch.positions)
        ahead, behind = (
            mace.run(self.moved(mace, atoms, direction, step), [1], energies=False).features[1]
            for step in (1e-5, -1e-5)
        )
        slope = (weights * (ahead - behind)).sum().item() / 2e-5
        assert (gradient.numpy() * direction).sum() == pytest.approx(slope, abs=1e-7)

    def test_energies_can_be_differentiated_by_what_an_edit_used(self, mace, ionic_cells):
        batch = mace.batch(ionic_cells[0])
        size = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)

        def energy(size):
            edits = {1: lambda x: x * (1 + size)}
            return mace.run(batch, edits=edits, keep_graph=True).energies.sum()

        (slope,) = torch.autograd.grad(energy(size), size)
        with torch.no_grad():
            difference = (energy(size + 1e-5) - energy(size - 1e-5)) / 2e-5
        assert slope.item() == pytest.approx(difference.item(), abs=1e-8)
        assert not batch.positions.requires_grad

    def test_forces_need_positions_that_require_gradients(self, potential, ionic_cells):
        with pytest.raises(ModelError, match=r"call batch.positions.requires_grad_\(\) first"):
            potential.run(potential.batch(ionic_cells[0]), forces=True, keep_graph=True)

    def test_sevennet_keeps_its_graph_too(self, sevenn_0, ionic_cells):
        batch = sevenn_0.batch(ionic_cells[2])
        batch.positions.requires_grad_()
        output = sevenn_0.run(batch, [5], forces=True, keep_graph=True)
        (gradient,) = torch.autograd.grad(output.energies.sum(), batch.positions, retain_graph=True)
        torch.testing.assert_close(output.forces, -gradient, rtol=1e-5, atol=1e-6)
        # The Hessian is symmetric: dF_a/dr_b = dF_b/dr_a.
        rows = [
            torch.autograd.grad(output.forces[i, i % 3], batch.positions, retain_graph=True)[0]
            for i in (0, 1)
        ]
        assert rows[0][1, 1].item() == pytest.approx(rows[1][0, 0].item(), abs=1e-4)
        assert abs(rows[0][1, 1].item()) > 1e-3


class TestBatch:
    def test_unknown_species_are_named(self, mace, ionic_cells):
        strange = ionic_cells[0].copy()
        strange.symbols[[1, 2]] = "Au", "Cs"
        with pytest.raises(ModelError) as caught:
            mace.batch([ionic_cells[0], strange])
        assert str(caught.value).startswith("structure@1: ")
        assert "doesn't know Cs, Au; leave this structure out" in str(caught.value)

    @pytest.mark.parametrize("nothing", [[], [Atoms()], [Atoms("Na"), Atoms()]])
    def test_nothing_is_refused(self, mace, nothing):
        with pytest.raises(ModelError, match="at least one structure, and atoms in each"):
            mace.batch(nothing)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_positions_that_are_no_numbers(self, mace, ionic_cells, bad):
        broken = ionic_cells[0].copy()
        broken.positions[3, 1] = bad
        with pytest.raises(ModelError, match="structure@1: a position or the cell isn't finite"):
            mace.batch([ionic_cells[0], broken])

    def test_no_cell_along_a_periodic_direction(self, mace, ionic_cells):
        flat = ionic_cells[0].copy()
        flat.cell[2] = 0
        with pytest.raises(ModelError, match="structure@0: has no cell along a periodic direction"):
            mace.batch(flat)
        flat.pbc = (True, True, False)
        assert mace.run(mace.batch(flat)).energies.isfinite().all()

    def test_the_name_and_size_are_told(self, mace):
        assert repr(mace) == (
            "<mace potential 8x0e_8x1o.model: 2 message-passing layers, cutoff 4.5 Å, 4 elements>"
        )
