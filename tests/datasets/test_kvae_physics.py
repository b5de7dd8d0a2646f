import numpy as np
import pytest
import torch

from pyro_ldm.datasets import DataError, MissingDataError, kvae_physics


def images(num, steps=4):
    """Step t of series n has its one bright pixel in row n, column t."""
    pixels = np.zeros((num, steps, 32, 32), np.uint8)
    for n, t in np.ndindex(num, steps):
        pixels[n, t, n, t] = 1
    return np.packbits(pixels, axis=-1)


def states(num, steps=4):
    """Those that belong to the images: state t is (t + 1, 31 - n, 0, 0)."""
    state = np.zeros((num, steps, 4), np.float32)
    state[..., 0] = np.arange(steps) + 1
    state[..., 1] = 31 - np.arange(num)[:, None]
    return state


def write(folder, world="box", **change):
    """A tiny file of the format: 3 series to train on, 2 to test on."""
    arrays = {"images_train_packed": images(3), "images_test_packed": images(2)}
    if world != "pong":
        arrays |= {"state_train": states(3), "state_test": states(2)}
    np.savez(folder / f"{world}.npz", **{k: v for k, v in (arrays | change).items() if v is not None})
    return folder


def test_image_and_state_of_one_step_come_together(tmp_path):
    data = kvae_physics(folder=write(tmp_path))
    assert repr(data) == "Data('kvae_physics:box', 3 x (3, 1, 32, 32), truth)"
    assert data.x.dtype == torch.float32 and data.x.sum() == 9
    for n, t in np.ndindex(3, 3):
        column, height = data.truth[n, t, :2].long().tolist()
        assert data.x[n, t, 0, 31 - height, column] == 1
    assert len(kvae_physics("box", train=False, folder=str(tmp_path))) == 2


def test_pong_has_no_states_and_keeps_its_images(tmp_path):
    data = kvae_physics("pong", folder=write(tmp_path, "pong"))
    assert data.x.shape == (3, 4, 1, 32, 32) and data.truth is None
    assert data.x[2].nonzero().tolist() == [[t, 0, 2, t] for t in range(4)]


def test_series_whose_ball_leaves_the_frame_are_left_out(tmp_path):
    state = states(3)
    state[1, 2, 1] = -0.5
    data = kvae_physics("box_gravity", folder=write(tmp_path, "box_gravity", state_train=state))
    assert data.truth[:, 0, 1].tolist() == [31, 29]
    assert data.x[1].nonzero()[:, 2].tolist() == [2, 2, 2]
    state = states(3)
    state[1, 3, 1] = -0.5  # only the last, of which there is no image
    assert len(kvae_physics("box_gravity", folder=write(tmp_path, "box_gravity", state_train=state))) == 3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"state_train": None}, r"box\.npz: the file holds no array 'state_train'"),
        ({"images_train_packed": None}, "holds no array 'images_train_packed'"),
        ({"state_train": states(2)}, r"state_train has shape \(2, 4, 4\) where \(3, 4, 4\) is wanted"),
        ({"images_train_packed": np.zeros((3, 4, 32, 32), np.uint8)}, r"bytes of shape \(N, T, 32, 4\) are wanted"),
        ({"images_train_packed": np.zeros((3, 4, 32, 4))}, "holds float64 .* pack the images"),
        ({"state_train": np.array([{}, 1], dtype=object)}, "pickled objects, which are not loaded"),
    ],
)
def test_other_files(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as caught:
        kvae_physics(folder=write(tmp_path, **change))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_missing_world(tmp_path):
    with pytest.raises(MissingDataError, match=r"it lacks pong\.npz"):
        kvae_physics("pong", folder=write(tmp_path))
    with pytest.raises(DataError, match="no world 'ball': give one of box, box_gravity, polygon, pong"):
        kvae_physics("ball", folder=tmp_path)


@pytest.mark.parametrize("world, num", [("box", 1000), ("box_gravity", 989), ("polygon", 1000)])
def test_the_ball_is_where_the_state_says(world, num):
    try:
        data = kvae_physics(world, train=False)
    except MissingDataError as error:
        pytest.skip(str(error))
    assert data.x.shape == (num, 19, 1, 32, 32) and set(data.x.unique().tolist()) == {0, 1}
    ball = torch.where(data.x.all(0).all(0), 0, data.x)[:, :, 0].double()  # without the walls
    grid, mass = torch.arange(32.0), ball.sum((2, 3))
    assert mass.min() > 0
    centroid = torch.stack([ball.sum(2) @ grid / mass, 31 - ball.sum(3) @ grid / mass], -1)
    truth = data.truth[..., :2].double()
    offset = (truth - centroid).flatten(0, 1).mean(0)
    rest = truth - centroid - offset
    r2 = 1 - rest.flatten(0, 1).var(0) / truth.flatten(0, 1).var(0)
    assert (r2 > 0.99).all()
    assert offset == pytest.approx([0.86, 1.02], abs=0.05)
    # One step off, either way, it is not.
    for a, b in ((centroid[:, 1:], truth[:, :-1]), (centroid[:, :-1], truth[:, 1:])):
        wrong = (b - a - offset).flatten(0, 1)
        assert (1 - wrong.var(0) / truth.flatten(0, 1).var(0)).max() < 0.98


def test_the_parts_to_train_on():
    try:
        pong, gravity = kvae_physics("pong"), kvae_physics("box_gravity")
    except MissingDataError as error:
        pytest.skip(str(error))
    assert pong.x.shape == (5000, 20, 1, 32, 32) and pong.truth is None
    assert gravity.x.shape == (4946, 19, 1, 32, 32) and gravity.truth.shape == (4946, 19, 4)
