"""Where files are looked for, and what a download leaves behind."""

import hashlib
from pathlib import Path

import pytest

from graves_core.data.files import DataFolder, Remote, data_root, download

CONTENT = b"content of the file" * 1000


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "set.bin").write_bytes(CONTENT)
    return f"{folder.as_uri()}/"


def remote(*urls, content=CONTENT):
    return Remote("set.bin", hashlib.sha256(content).hexdigest(), urls)


def test_download_with_the_right_checksum_is_kept(server, tmp_path):
    path = download(remote(server), tmp_path / "data" / "set")
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_download_with_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(ValueError, match=r"set\.bin") as error:
        download(remote(server, content=b"other"), tmp_path / "data")
    assert hashlib.sha256(b"other").hexdigest() in str(error.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(error.value)
    assert not list((tmp_path / "data").iterdir())


def test_next_server_is_asked(server, tmp_path):
    nowhere = f"{(tmp_path / 'nowhere').as_uri()}/"
    assert download(remote(nowhere, server), tmp_path / "data").read_bytes() == CONTENT


def test_servers_that_cannot_be_reached_are_named(tmp_path):
    nowhere = f"{(tmp_path / 'nowhere').as_uri()}/"
    with pytest.raises(ConnectionError, match=r"could not download set\.bin .*nowhere"):
        download(remote(nowhere), tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("place", [".", "set", "other/raw"])
def test_what_is_there_is_not_downloaded(tmp_path, place):
    home = tmp_path / "data" / place
    home.mkdir(parents=True)
    (home / "set.bin").write_bytes(b"the user's own")
    folder = DataFolder(str(tmp_path / "data"), "set", ("other/raw",))
    folder.fetch(remote())
    assert folder.require("set.bin").read_bytes() == b"the user's own"


def test_missing_file_is_downloaded_to_the_folder_of_the_set(server, tmp_path):
    DataFolder(str(tmp_path / "data"), "set").fetch(remote(server))
    assert (tmp_path / "data" / "set" / "set.bin").read_bytes() == CONTENT


def test_folder_is_not_taken_for_a_file(tmp_path):
    (tmp_path / "text8").mkdir()
    folder = DataFolder(str(tmp_path), "text8")
    assert folder.find("text8") is None
    assert folder.find("text8/") == tmp_path / "text8"


def test_missing_file_is_named_with_the_places(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        DataFolder(str(tmp_path), "set").require("a.gz", "a")
    assert str(error.value) == f"there is no a.gz or a in {tmp_path}, {tmp_path / 'set'}"


def test_argument_beats_environment_beats_cache(monkeypatch):
    monkeypatch.setenv("GRAVES_DATA", "/from/environment")
    assert data_root("/given") == Path("/given")
    assert data_root(None) == Path("/from/environment")
    monkeypatch.delenv("GRAVES_DATA")
    assert data_root(None) == Path.home() / ".cache" / "graves"


def test_file_as_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="data_dir must be a folder, got the file"):
        DataFolder(str(tmp_path / "file"), "set")
