import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics.arviz import add_groups, draws, group, has_group, import_arviz, to_arviz

GROUPS = {
    "posterior": {"scale": torch.rand(2, 5, 3)},
    "posterior_predictive": {"z": torch.rand(2, 5, 7, 3)},
    "sample_stats": {"diverging": torch.zeros(2, 5, dtype=torch.bool)},
    "log_likelihood": {"z": torch.rand(2, 5, 7)},
    "prior": {"scale": torch.rand(1, 6, 3)},
    "prior_predictive": {"z": torch.rand(1, 6, 7, 3)},
    "observed_data": {"z": torch.rand(7, 3)},
    "constant_data": {"mask": torch.ones(7, dtype=torch.bool)},
    "latents": {"z": torch.rand(7, 4, 3), "z_prime": torch.rand(7, 4, 3)},
    "bounds": {"kl": 0.1, "verdict": "matched"},
    "prior_sbc": {"ranks": torch.arange(10)},
}


def test_it_is_the_tree_of_the_arviz_that_is_there():
    tree = to_arviz(**GROUPS)
    arviz = import_arviz()
    if arviz.__version__.startswith("0."):
        assert isinstance(tree, arviz.InferenceData)
    else:
        import xarray

        assert isinstance(tree, xarray.DataTree)
    assert float(arviz.ess(tree)["scale"][0]) > 0  # ArviZ reads it


def test_every_group_is_there_with_dims_named_after_plates_and_events():
    tree = to_arviz(**GROUPS)
    found = {name: {key: array.dims for key, array in group(tree, name).data_vars.items()} for name in GROUPS}
    sampled = ("chain", "draw")
    assert found == {
        "posterior": {"scale": (*sampled, "scale_dim_0")},
        "posterior_predictive": {"z": (*sampled, "batch", "z_dim")},
        "sample_stats": {"diverging": sampled},
        "log_likelihood": {"z": (*sampled, "batch")},
        "prior": {"scale": (*sampled, "scale_dim_0")},
        "prior_predictive": {"z": (*sampled, "batch", "z_dim")},
        "observed_data": {"z": ("batch", "z_dim")},
        "constant_data": {"mask": ("mask_dim_0",)},
        "latents": {"z": ("batch", "time", "z_dim"), "z_prime": ("batch", "time", "z_prime_dim")},
        "bounds": {"kl": (), "verdict": ()},
        "prior_sbc": {"ranks": ("ranks_dim_0",)},
    }
    assert group(tree, "sample_stats")["diverging"].dtype == bool
    assert group(tree, "bounds")["verdict"].item() == "matched"


def test_names_and_labels_of_dims():
    tree = to_arviz(
        posterior={"scale": np.arange(12.0).reshape(2, 3, 2)},
        dims={"scale": ["source"]},
        coords={"source": ["left", "right"], "unused": [1, 2, 3]},
    )
    scale = group(tree, "posterior")["scale"]
    assert scale.sel(source="right", chain=1, draw=2) == 11.0
    assert "unused" not in group(tree, "posterior").coords


def test_attributes():
    attrs = {"inference": "NUTS", "seed": 3, "estimator": None, "loss": torch.tensor(0.5), "objective": [1, 2]}
    # HDF5 has no type for the first and the last of these.
    attrs |= {"labels": np.array(["a", None], dtype=object), "seeds": np.array([1, 2]), "hash": 2**63}
    tree = to_arviz(posterior={"scale": torch.rand(2, 5)}, attrs=attrs)
    for found in (dict(tree.attrs), group(tree, "posterior").attrs):
        assert (found["inference"], found["seed"], found["loss"], found["objective"]) == ("NUTS", 3, 0.5, "[1, 2]")
        assert "estimator" not in found
        assert (found["labels"], found["seeds"].tolist(), found["hash"]) == ("['a' None]", [1, 2], str(2**63))
        assert found["arviz_version"] == import_arviz().__version__
        assert found["torch_version"] == torch.__version__
        assert {"created_at", "pyro_version", "pyro_ldm_version", "inference_library_version"} <= set(found)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [(torch.bfloat16, np.float32), (torch.float16, np.float32), (torch.float64, np.float64), (torch.int64, np.int64)],
)
def test_any_dtype_of_tensor(dtype, stored):
    values = torch.tensor([1.0, 2.0]).to(dtype)
    z = group(to_arviz(latents={"z": values}), "latents")["z"]
    assert z.dtype == stored
    assert z.values.tolist() == [1.0, 2.0]


def test_a_tensor_with_a_gradient_is_copied_and_not_shared():
    values = torch.nn.Parameter(torch.tensor([[1.0, 2.0]]))
    tree = to_arviz(posterior={"scale": values})
    with torch.no_grad():
        values.zero_()
    assert group(tree, "posterior")["scale"].values.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "nothing to export: pass"),
        ({"posterior": {}}, "'posterior' has no variables: leave it out"),
        ({"posterior": {"scale": torch.rand(5)}}, r"lead with \(chain, draw\): put a chain"),
        ({"posterior": {"scale": torch.rand(4, 0)}}, r"shape \(4, 0\), without a draw"),
        ({"posterior": {"a": torch.rand(2, 5), "b": torch.rand(2, 6)}}, "'draw' has size 5 in 'a' and 6 in 'b'"),
        (
            {"posterior": {"a": torch.rand(2, 5)}, "log_likelihood": {"z": torch.rand(1, 5, 3)}},
            r"\(chain, draw\) must be the same",
        ),
        (
            {"posterior": {"a": torch.rand(2, 5, 3)}, "dims": {"a": ["draw"]}},
            "'draw', which ArviZ keeps.*rename the pl",
        ),
        ({"posterior": {"a": torch.rand(2, 5, 3)}, "dims": {"a": ["chain"]}}, "'chain', which ArviZ keeps"),
        (
            {"posterior": {"a": torch.rand(2, 5)}, "coords": {"chain": [0, 1]}},
            "coords names 'chain'.*rename that coord",
        ),
        (
            {"posterior": {"a": torch.rand(2, 5, 3), "b": torch.rand(2, 5)}, "dims": {"a": ["b"]}},
            "a variable and a dim called 'b': rename the dim",
        ),
        (
            {"posterior": {"a": torch.rand(2, 5, 3), "b": torch.rand(2, 5, 4)}, "dims": {"a": ["k"], "b": ["k"]}},
            "'k' has size 3 in 'a' and 4 in 'b': give one of them another name",
        ),
        ({"posterior": {"a": torch.rand(2, 5, 3, 3)}, "dims": {"a": ["k", "k"]}}, "'k' twice: rename one"),
        ({"posterior": {"a": torch.rand(2, 5, 3)}, "dims": {"a": ["j", "k"]}}, "pass a list of 1 names"),
        ({"posterior": {"a": torch.rand(2, 5, 3)}, "dims": {"a": "k"}}, "pass a list of 1 names"),
        (
            {"posterior": {"scale": torch.rand(2, 5, 3)}, "dims": {"sale": ["k"]}},
            "dims names .'sale'.*correct the name",
        ),
        (
            {"posterior": {"a": torch.rand(2, 5, 3)}, "dims": {"a": ["k"]}, "coords": {"k": [1, 2]}},
            "2 labels of 'k', which has size 3",
        ),
        ({"latents": {"z": torch.rand(4, 2), "z_prime": torch.rand(5, 2)}}, "'batch' has size 4 in 'z' and 5"),
        ({"latents": {"net/z": torch.rand(4, 2)}}, "without a slash"),
        ({"posterior": torch.rand(2, 5)}, "posterior is a Tensor: pass a dict of arrays by variable"),
        ({"latents": {"z": [[1.0], [1.0, 2.0]]}}, "ragged: pass an array"),
        ({"latents": {"z": torch.zeros(2, dtype=torch.complex64)}}, "complex64: pass an array of numbers"),
        ({"latents": {"z": [None, 1.0]}}, "object: pass an array of numbers"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(groups, message):
    with pytest.raises(ValueError, match=message):
        to_arviz(**groups)


def test_add_groups_makes_a_new_tree():
    tree = to_arviz(posterior={"scale": torch.zeros(2, 5)}, attrs={"seed": 1})
    more = add_groups(tree, bounds={"kl": 0.1}, posterior={"scale": torch.ones(2, 5)}, attrs={"objective": "KL"})
    assert not has_group(tree, "bounds") and has_group(more, "bounds")
    assert draws(tree)["scale"].sum() == 0 and draws(more)["scale"].sum() == 10
    assert (more.attrs["seed"], more.attrs["objective"]) == (1, "KL")
    assert more.attrs["created_at"] == tree.attrs["created_at"]
    with pytest.raises(ValueError, match="must be the same"):
        add_groups(tree, log_likelihood={"z": torch.zeros(2, 4, 3)})


def test_draws_come_chain_after_chain():
    values = torch.arange(12.0).reshape(2, 3, 2)
    tree = to_arviz(posterior={"scale": values, "rate": values[..., 0]}, latents={"z": torch.rand(4, 2)})
    found = draws(tree)
    assert torch.equal(found["scale"], torch.arange(12.0).reshape(6, 2))
    assert torch.equal(found["rate"], torch.arange(0.0, 12.0, 2.0))
    found["scale"].zero_()
    assert group(tree, "posterior")["scale"].values.sum() == 66  # the tree's own are not touched
    with pytest.raises(ValueError, match=r"'latents' holds no draws.*read it with group"):
        draws(tree, "latents")


def test_one_draw_is_a_tree():
    assert draws(to_arviz(posterior={"scale": torch.ones(1, 1, 2)}))["scale"].shape == (1, 2)


def test_a_group_that_is_not_there():
    tree = to_arviz(latents={"z": torch.rand(4, 2)})
    with pytest.raises(ValueError, match=r"no group 'posterior', it has \['latents'\]: add it"):
        group(tree, "posterior")
    with pytest.raises(TypeError, match="got dict: pass what to_arviz"):
        group({"posterior": {}}, "posterior")
