import os
import subprocess

import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics.arviz import add_groups, draws, group, has_group, import_arviz, load, save, to_arviz

WRITE = """
import sys, numpy as np
from pyro_ldm.diagnostics.arviz import save, to_arviz
save(to_arviz(
    posterior={"scale": np.arange(12.0).reshape(2, 3, 2)},
    sample_stats={"diverging": np.array([[True, False, False], [False, False, False]])},
    latents={"z": np.ones((4, 2), dtype="float32")},
    bounds={"kl": 0.25, "verdict": "not matched: Größe 3"},
    prior_sbc={"ranks": np.arange(5)},
    dims={"scale": ["source"]},
    coords={"source": ["left", "right"]},
    attrs={"inference": "NUTS", "seed": 3},
), sys.argv[1])
"""
READ = (
    "import sys; from test_netcdf import check; from pyro_ldm.diagnostics.arviz import load; check(load(sys.argv[1]))"
)


def write(path):
    exec(WRITE.replace("sys.argv[1]", repr(str(path))), {})


def check(tree):
    """What WRITE wrote."""
    posterior = group(tree, "posterior")
    assert draws(tree)["scale"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert posterior["scale"].sel(source="right", chain=1, draw=2) == 11.0
    assert posterior.attrs["inference"] == tree.attrs["inference"] == "NUTS"
    assert posterior.attrs["seed"] == tree.attrs["seed"] == 3
    assert group(tree, "sample_stats")["diverging"].dtype == bool
    assert group(tree, "sample_stats")["diverging"].values.sum() == 1
    z = group(tree, "latents")["z"]
    assert (z.dtype, z.dims, z.shape) == (np.float32, ("batch", "z_dim"), (4, 2))
    assert float(group(tree, "bounds")["kl"]) == 0.25
    assert group(tree, "bounds")["verdict"].item() == "not matched: Größe 3"
    assert group(tree, "prior_sbc")["ranks"].values.tolist() == [0, 1, 2, 3, 4]


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "posterior.nc")
    check(load(tmp_path / "posterior.nc"))
    assert os.listdir(tmp_path) == ["posterior.nc"]


def test_what_is_read_can_be_added_to_and_written_in_place(tmp_path):
    path = str(tmp_path / "posterior.nc")
    write(path)
    save(add_groups(load(path), constant_data={"mask": torch.ones(4, dtype=torch.bool)}), path)
    check(load(path))
    assert has_group(load(path), "constant_data")


def test_arviz_reads_it_by_itself(tmp_path):
    write(tmp_path / "posterior.nc")
    check(import_arviz().from_netcdf(tmp_path / "posterior.nc"))


def test_a_file_that_arviz_wrote(tmp_path):
    arviz = import_arviz()
    given = {"mu": np.arange(6.0).reshape(2, 3)}
    made = (
        arviz.from_dict(posterior=given)
        if arviz.__version__.startswith("0.")
        else arviz.from_dict({"posterior": given})
    )
    made.to_netcdf(tmp_path / "theirs.nc")
    assert draws(load(tmp_path / "theirs.nc"))["mu"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    import xarray

    path = tmp_path / "posterior.nc"
    write(path)
    to_netcdf = xarray.Dataset.to_netcdf

    def break_off(self, *args, **kwargs):
        if kwargs.get("group") == "latents":
            raise KeyboardInterrupt
        return to_netcdf(self, *args, **kwargs)

    monkeypatch.setattr(xarray.Dataset, "to_netcdf", break_off)
    with pytest.raises(KeyboardInterrupt):
        save(to_arviz(bounds={"kl": 7.0}, latents={"z": torch.ones(2)}), path)
    check(load(path))
    assert os.listdir(tmp_path) == ["posterior.nc"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: name a file in it"):
        save(to_arviz(bounds={"kl": 0.1}), tmp_path)
    assert not list(tmp_path.parent.glob(".*partial"))


def test_files_that_are_no_tree(tmp_path):
    import xarray

    with pytest.raises(FileNotFoundError, match=r"there is no file .*posterior.nc: save a tree first"):
        load(tmp_path / "posterior.nc")
    (tmp_path / "text.nc").write_text("posterior")
    with pytest.raises(ValueError, match=r"text.nc cannot be read as NetCDF, it is broken.*write it anew"):
        load(tmp_path / "text.nc")
    write(tmp_path / "whole.nc")
    whole = (tmp_path / "whole.nc").read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "half.nc").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"half.nc cannot be read as NetCDF, it is broken"):
            load(tmp_path / "half.nc")
    xarray.Dataset({"a": 1.0}).to_netcdf(tmp_path / "flat.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"flat.nc holds no groups.*pass a file that save wrote"):
        load(tmp_path / "flat.nc")
    with pytest.raises(FileNotFoundError, match=r"no folder .*to write posterior.nc to: make it first"):
        save(to_arviz(bounds={"kl": 0.1}), tmp_path / "nowhere" / "posterior.nc")


@pytest.mark.slow
def test_the_other_arviz_reads_what_this_one_writes_and_the_other_way_round(tmp_path):
    other = os.environ.get("PYRO_LDM_OTHER_PYTHON")
    if not other:
        pytest.skip("PYRO_LDM_OTHER_PYTHON names no interpreter with the other version of ArviZ")
    write(tmp_path / "here.nc")
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    for code, path in ((READ, tmp_path / "here.nc"), (WRITE, tmp_path / "there.nc")):
        done = subprocess.run([other, "-c", code, path], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    there = load(tmp_path / "there.nc")
    check(there)
    assert there.attrs["arviz_version"].split(".")[0] != import_arviz().__version__.split(".")[0]
