"""The passwords that `make env` makes."""

import hashlib
import re
import stat
from pathlib import Path

import env_file
import pytest

from project_copy import PROJECT

EXAMPLE = (PROJECT / ".env.example").read_text(encoding="utf-8")


def pairs(text: str) -> dict[str, str]:
    """Map each variable that is set to its value."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def test_each_empty_variable_gets_a_value_of_its_own() -> None:
    """No two are alike, no two files are alike, and what had a value keeps it."""
    example, filled, other = pairs(EXAMPLE), pairs(env_file.filled(EXAMPLE)), pairs(env_file.filled(EXAMPLE))
    made = [name for name, value in example.items() if not value]
    assert len(made) >= 8
    values = [file[name] for file in (filled, other) for name in made]
    assert len(set(values)) == len(values)
    assert all(re.fullmatch(r"[0-9a-f]{40,64}", value) for value in values)
    assert {name: value for name, value in example.items() if value} == {
        name: value for name, value in filled.items() if name not in made
    }


def test_comments_stay() -> None:
    """A variable that is commented out is not set."""
    comments = [line for line in EXAMPLE.splitlines() if line.startswith("#")]
    assert comments == [line for line in env_file.filled(EXAMPLE).splitlines() if line.startswith("#")]


def test_the_service_knows_the_digest_of_the_key() -> None:
    """What callers show, hashed, is what the service compares with."""
    filled = pairs(env_file.filled(EXAMPLE))
    assert filled["API_KEY_HASHES"] == hashlib.sha256(filled["API_KEY"].encode()).hexdigest()


def test_a_file_that_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, for the owner alone, and without telling a password."""
    monkeypatch.setattr(env_file, "PROJECT", tmp_path)
    (tmp_path / ".env.example").write_text(EXAMPLE, encoding="utf-8")
    env_file.main()
    made = (tmp_path / ".env").read_text(encoding="utf-8")
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    printed = capsys.readouterr().out
    assert not [value for name, value in pairs(made).items() if name not in pairs(EXAMPLE) or value in printed.split()]
    env_file.main()
    assert made == (tmp_path / ".env").read_text(encoding="utf-8")
    assert capsys.readouterr().out == ""


def test_what_is_new_in_the_example_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an older version gets what it lacks, but no address; what it says stays, also as a comment."""
    monkeypatch.setattr(env_file, "PROJECT", tmp_path)
    (tmp_path / ".env.example").write_text(EXAMPLE, encoding="utf-8")
    mine = "# of ours\nAWS_SECRET_ACCESS_KEY=mine\n# JUPYTER_TOKEN=\nexport API_KEY=shown"
    (tmp_path / ".env").write_text(mine, encoding="utf-8")
    env_file.main()
    text = (tmp_path / ".env").read_text(encoding="utf-8")
    assert text.startswith(f"{mine}\n")
    found = pairs(text)
    left_out = {name for name in pairs(EXAMPLE) if name.startswith(("AWS_", "MLFLOW_"))} - {"AWS_SECRET_ACCESS_KEY"}
    assert set(pairs(EXAMPLE)) - set(found) == {*left_out, "JUPYTER_TOKEN", "API_KEY"}
    assert found["API_KEY_HASHES"] == hashlib.sha256(b"shown").hexdigest()
    assert len(re.findall("^AWS_SECRET_ACCESS_KEY=", text, re.MULTILINE)) == 1
    assert all(found.values())
