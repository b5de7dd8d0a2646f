import pytest

from pyro_ldm.datasets import DataError, MissingDataError
from pyro_ldm.datasets.local import find_folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The two places that a user can set, both empty."""
    monkeypatch.setenv("PYRO_LDM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return [tmp_path / "data" / "pets", tmp_path / "cache" / "pyro_ldm" / "pets"]


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_the_argument_wins_then_the_variable_then_the_cache(tmp_path, places):
    files, mine = ("a.bin", "b.bin"), put(tmp_path / "mine", "a.bin", "b.bin")
    data, cache = places
    put(cache, *files)
    assert find_folder("pets", files=files) == cache
    data.mkdir(parents=True)  # an empty folder is passed over
    assert find_folder("pets", files=files) == cache
    put(data, *files)
    assert find_folder("pets", files=files) == data
    assert find_folder("pets", mine, files=files) == find_folder("pets", str(mine), files=files) == mine


def test_the_cache_is_in_the_home_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("PYRO_LDM_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = put(tmp_path / ".cache" / "pyro_ldm" / "pets", "a.bin")
    assert find_folder("pets", files=["a.bin"]) == cache
    monkeypatch.setenv("PYRO_LDM_DATA", "~/data")
    data = put(tmp_path / "data" / "pets", "a.bin")
    assert find_folder("pets", files=["a.bin"]) == data


def test_nowhere_says_where_to_put_which_files(places):
    with pytest.raises(MissingDataError) as caught:
        find_folder("pets", files=("a.bin", "b.bin"))
    message = str(caught.value)
    for word in (*map(str, places), "/usr/share/datasets/pets", f"put a.bin, b.bin into {places[1]}", "PYRO_LDM_DATA"):
        assert word in message
    assert "\n" not in message and isinstance(caught.value, DataError)


def test_an_incomplete_copy_is_named(places):
    put(places[0], "a.bin")
    put(places[1], "a.bin", "b.bin")
    with pytest.raises(MissingDataError, match=r"data/pets: it lacks b\.bin: put them there"):
        find_folder("pets", files=("a.bin", "b.bin"))


def test_a_folder_that_is_given_is_the_only_place(tmp_path, places):
    put(places[0], "a.bin")
    with pytest.raises(MissingDataError, match=r"mine: it is no folder that holds a\.bin"):
        find_folder("pets", tmp_path / "mine", files=["a.bin"])
    put(tmp_path / "mine", "b.bin")
    with pytest.raises(MissingDataError, match=r"mine: it lacks a\.bin: put them there, or give"):
        find_folder("pets", tmp_path / "mine", files=["a.bin"])
