import numpy as np
import pytest
from PIL import Image

from pyro_ldm.datasets import DataError
from pyro_ldm.datasets.images import read_images


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)


def test_grey_images_in_the_order_of_their_names(tmp_path):
    arrays = {name: pixels(4, 6, seed=i) for i, name in enumerate(["b.png", "a.bmp", "c.tif", "D.PNG"])}
    for name, array in arrays.items():
        save(tmp_path / name, array)
    images = read_images(tmp_path)
    assert images.shape == (4, 1, 4, 6) and images.dtype == np.float32
    expected = np.stack([arrays[name] for name in ("D.PNG", "a.bmp", "b.png", "c.tif")])
    assert np.allclose(images[:, 0] * 255, expected, atol=1e-4)


def test_colour_images(tmp_path):
    array = pixels(4, 6, 3)
    save(tmp_path / "a.png", array)
    save(tmp_path / "b.webp", array, lossless=True)
    images = read_images(tmp_path)
    assert images.shape == (2, 3, 4, 6)
    assert np.allclose(images * 255, array.transpose(2, 0, 1), atol=1e-4)


def test_one_colour_image_makes_all_rgb(tmp_path):
    save(tmp_path / "a.png", pixels(4, 4))
    save(tmp_path / "b.png", pixels(4, 4, 3))
    images = read_images(tmp_path)
    assert images.shape == (2, 3, 4, 4)
    assert np.array_equal(images[0, 0], images[0, 1]) and not np.array_equal(images[1, 0], images[1, 1])


def test_other_kinds_of_pixels(tmp_path):
    grey = pixels(8, 8)
    Image.fromarray(grey).convert("LA").save(tmp_path / "a.png")  # transparency is dropped
    save(tmp_path / "b.png", grey.astype(np.uint16) * 257)  # 16 bits
    Image.fromarray(grey > 127).save(tmp_path / "c.png")  # 1 bit
    images = read_images(tmp_path)
    assert images.shape == (3, 1, 8, 8)
    assert np.allclose(images[:2, 0] * 255, grey, atol=1e-3)
    assert np.array_equal(images[2, 0], (grey > 127).astype(np.float32))


def test_jpeg_and_gif(tmp_path):
    grey = np.full((16, 16), 100, dtype=np.uint8)
    save(tmp_path / "a.jpg", grey)
    save(tmp_path / "b.jpeg", grey)
    save(tmp_path / "c.gif", grey)
    assert np.allclose(read_images(tmp_path) * 255, 100, atol=1.5)
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    red.save(tmp_path / "d.gif", save_all=True, append_images=[Image.new("RGB", (16, 16))])  # its first frame counts
    images = read_images(tmp_path)
    assert images.shape == (4, 3, 16, 16)
    assert np.allclose(images[3].mean((1, 2)), [1, 0, 0], atol=0.01)


def test_a_palette_counts_as_colour(tmp_path):
    Image.fromarray(pixels(4, 4)).convert("P").save(tmp_path / "a.png")
    images = read_images(tmp_path)
    assert images.shape == (1, 3, 4, 4)
    assert np.allclose(images[0] * 255, pixels(4, 4), atol=1e-4)


def test_hidden_files_other_files_and_folders_are_left_out(tmp_path):
    save(tmp_path / "a.png", pixels(4, 4))
    (tmp_path / ".b.png").write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "more.png").mkdir()
    assert len(read_images(tmp_path)) == 1


def test_sizes_must_agree_or_be_given(tmp_path):
    save(tmp_path / "a.png", pixels(4, 6))
    save(tmp_path / "b.png", np.full((8, 12), 51, dtype=np.uint8))
    with pytest.raises(DataError, match=r"a\.png is 4 x 6 and b\.png 8 x 12 .* such as \(4, 6\)"):
        read_images(tmp_path)
    images = read_images(tmp_path, size=(4, 6))
    assert images.shape == (2, 1, 4, 6)
    assert np.allclose(images[1], 0.2, atol=1e-6)
    assert np.allclose(images[0, 0] * 255, pixels(4, 6), atol=1e-4)  # of the right size already: untouched
    assert read_images(tmp_path, size=5).shape == (2, 1, 5, 5)
    for size in (0, (4, -1), (1, 2, 3)):
        with pytest.raises(DataError, match="positive height and width"):
            read_images(tmp_path, size=size)


def test_resizing_down_averages(tmp_path):
    # Antialiased: a fine checkerboard becomes grey, not black or white.
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    save(tmp_path / "a.png", board)
    assert np.allclose(read_images(tmp_path, size=8)[0, 0, 1:-1, 1:-1], 0.5, atol=0.02)


def test_a_broken_file_is_named(tmp_path):
    save(tmp_path / "a.png", pixels(32, 32))
    (tmp_path / "b.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"b\.png: the image cannot be read .*: remove or replace it$"):
        read_images(tmp_path)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])  # header whole, pixels cut off
    with pytest.raises(DataError, match=r"b\.png: the image cannot be read"):
        read_images(tmp_path)


def test_floating_point_images(tmp_path):
    save(tmp_path / "a.tif", np.zeros((4, 4), dtype=np.float32))
    with pytest.raises(DataError, match=r"floating-point .* save the stack as \.npy"):
        read_images(tmp_path)
    save(tmp_path / "a.tif", np.full((4, 4), 1_000_000, dtype=np.int32))
    with pytest.raises(DataError, match="more than 16 bits"):
        read_images(tmp_path)


def test_no_images(tmp_path):
    (tmp_path / "class_a").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="holds no images: put some in"):
        read_images(tmp_path)
