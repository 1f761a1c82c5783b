"""The demo's folder: what it writes is a configuration as users write it, and foreign folders are left alone."""

import re
from pathlib import Path

import pytest

from faregate.compile.compiler import compile_config
from faregate.demo.folder import KEY_HOLDERS, SUBJECTS, Folder, FolderError, Ports, configuration
from faregate.model.load import load

OTHER = Ports(gateway=9090, manager=8080, target_1=9002, target_2=9001)


def test_the_template_names_each_usual_address_once():
    addresses = re.findall(r"127\.0\.0\.1:(\d+)", configuration(Ports()))
    assert sorted(addresses) == ["8080", "9001", "9002", "9090"]


def test_changed_ports_change_the_addresses_and_nothing_else():
    usual, other = configuration(Ports()), configuration(OTHER)
    assert re.findall(r"127\.0\.0\.1:(\d+)", other) == ["9090", "8080", "9002", "9001"]
    assert re.sub(r":\d+", "", usual) == re.sub(r":\d+", "", other)


def test_the_callers_and_the_template_speak_of_the_same_consumers():
    text = configuration(Ports())
    assert set(re.findall(r"subject: ([\w-]+)", text)) == set(SUBJECTS)
    assert set(re.findall(r"file:keys/([\w-]+)\.sha256", text)) == set(KEY_HOLDERS)


def test_a_temporary_folder_is_private_and_gone_afterwards():
    with Folder.open(None) as folder:
        folder.write(Ports(), 1000, 60)
        assert folder.path.stat().st_mode & 0o077 == 0
        assert folder.config.exists()
    assert not folder.path.exists()


def test_a_given_folder_stays_and_serves_a_second_run(tmp_path):
    chosen = tmp_path / "demo"
    with Folder.open(chosen) as folder:
        first = folder.write(Ports(), 1000, 60)
    with Folder.open(chosen) as folder:
        second = folder.write(Ports(), 1000, 60)
    assert first.tokens["you"] != second.tokens["you"]
    assert (chosen / "faregate.yaml").exists()


def test_no_private_key_token_or_api_key_is_written(tmp_path):
    with Folder.open(tmp_path / "demo") as folder:
        credentials = folder.write(Ports(), 1000, 60)
    secret = [*credentials.tokens.values(), *credentials.api_keys.values(), "PRIVATE", '"d"']
    written = [file.read_text() for file in (tmp_path / "demo").rglob("*") if file.is_file()]
    assert len(written) == 6
    assert not [text for text in written if any(value in text for value in secret)]


def test_credentials_do_not_show_in_a_repr(tmp_path):
    with Folder.open(tmp_path / "demo") as folder:
        credentials = folder.write(Ports(), 1000, 60)
    assert credentials.tokens["you"] not in repr(credentials)


def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path):
    (tmp_path / "report.txt").write_text("mine")
    with pytest.raises(FolderError, match="holds other files"):
        Folder.open(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.txt"]


def test_a_folder_in_use_by_another_demo_is_refused(tmp_path):
    with Folder.open(tmp_path / "demo"), pytest.raises(FolderError, match="another demo is running"):
        Folder.open(tmp_path / "demo")


def test_a_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="cannot use"):
        Folder.open(Path(tmp_path / "file"))


def test_the_configuration_compiles_without_an_error_or_a_warning(tmp_path):
    with Folder.open(tmp_path / "demo") as folder:
        folder.write(OTHER, 1000, 60)
        snapshot, diagnostics = compile_config(load(str(folder.config), {}), 1)
    assert [str(diagnostic) for diagnostic in diagnostics] == []
    assert {target.port for upstream in snapshot.upstreams for target in upstream.targets} == {9001, 9002}
    assert {consumer.name for consumer in snapshot.consumers} == {*SUBJECTS, *KEY_HOLDERS}
