"""Labels come from info, from keys the user names, or from the file."""

import ase.build
import ase.io
import pytest

from mpprobe.errors import StructureError
from mpprobe.structures import read


@pytest.fixture
def labelled_file(tmp_path):
    """Two frames of ``slab.extxyz``: one with labels of its own, one without."""
    frames = [ase.build.bulk("NaCl", "rocksalt", a=5.64) for _ in range(2)]
    for frame in frames:
        frame.info["config_type"] = "surface"
    frames[0].info |= {"domain": "melt", "compound": "salt", "group": "run-1"}
    path = tmp_path / "slab.extxyz"
    ase.io.write(path, frames)
    return path


def test_info_comes_before_the_file(labelled_file):
    first, second = read(labelled_file)
    assert (first.domain, first.compound, first.group) == ("melt", "salt", "run-1")
    assert (second.domain, second.compound, second.group) == ("slab", "NaCl", second.source)


def test_a_key_that_the_user_names_comes_before_both(labelled_file):
    frames = read(labelled_file, labels={"domain": "config_type"})
    assert [frame.domain for frame in frames] == ["surface", "surface"]
    assert frames[0].compound == "salt"


def test_a_missing_key_names_the_frame_and_what_there_is(labelled_file):
    with pytest.raises(StructureError, match=r"slab\.extxyz@1: no info key 'group'.*config_type"):
        read(labelled_file, labels={"group": "group"})


def test_only_labels_can_be_taken(labelled_file):
    with pytest.raises(StructureError, match=r"'colour'.*compound, domain, group"):
        read(labelled_file, labels={"colour": "config_type"})
