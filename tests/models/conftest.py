"""What the tests of the models share: small SevenNet checkpoints, and quicker builds."""

import pytest
import torch

from mpprobe.models.options import quiet_library, unscripted


@pytest.fixture(scope="session")
def sevennet_file(tmp_path_factory):
    """Checkpoints of small SevenNets as sevenn's trainer writes them, with random weights.

    Called with a file name and changes to the configuration, it gives the path.
    """
    folder = tmp_path_factory.mktemp("sevennet")

    def path(name="small.pth", **changes):
        file = folder / name
        if not file.exists():
            torch.save(sevennet_checkpoint(**changes), file)
        return file

    return path


def sevennet_checkpoint(**changes):
    """A two-layer SevenNet for O, Na, Mg and Cl with four channels and l ≤ 1."""
    with quiet_library(), torch.random.fork_rng(devices=[]):
        # inside, since sevenn warns of what isn't installed when it is imported
        import sevenn
        from sevenn._const import model_defaults
        from sevenn.model_build import build_E3_equivariant_model
        from sevenn.util import chemical_species_preprocess

        config = {
            **model_defaults({}),
            **chemical_species_preprocess(["O", "Na", "Mg", "Cl"]),
            "version": sevenn.__version__,
            "_model_type": "E3_equivariant_model",
            "cutoff": 4.5,
            "channel": 4,
            "lmax": 1,
            "is_parity": False,
            "num_convolution_layer": 2,
            "weight_nn_hidden_neurons": [8],
            "conv_denominator": 20.0,
            "shift": [-1.8, -1.5, -1.0, -2.0],
            "scale": 1.5,
            "use_species_wise_shift_scale": True,
            **changes,
        }
        torch.manual_seed(0)
        weights = build_E3_equivariant_model(config).state_dict()
    return {"config": config, "model_state_dict": weights, "epoch": 1}


@pytest.fixture
def quick_builds():
    """Builds are quicker within the test. (Such models run the same, but can't be pickled.)"""
    with unscripted():
        yield


@pytest.fixture(scope="session")
def own_calculator():
    """sevenn's own calculator of a model, by the name that sevenn gives it."""

    def calculator(name, **options):
        with quiet_library(), unscripted():
            from sevenn.calculator import SevenNetCalculator

            return SevenNetCalculator(name, device="cpu", **options)

    return calculator
