"""Settings and schema versions: wrong ones are refused with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenure.base import config, migrate, schema
from tenure.base.db import Database
from tenure.kernel.errors import Failed, Refused


def test_settings_survive_the_journey_to_another_process() -> None:
    given = config.load({"TENURE_DATA": "/somewhere", "TENURE_GATEWAY_PORT": "9000", "TENURE_DRAIN": "2.5"})
    assert (given.data_dir, given.gateway_port, given.drain_s) == (Path("/somewhere"), 9000, 2.5)
    assert config.load(config.environment(given)) == given


def test_a_setting_of_the_wrong_kind_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="TENURE_GATEWAY_PORT='many' is not a whole number") as refusal:
        config.load({"TENURE_GATEWAY_PORT": "many"})
    assert "7710" in refusal.value.fix


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("TENURE_CONTROL_PORT", "99999", "a port from 1 to 65535"),
        ("TENURE_GATEWAY_PORT", "0", "a port from 1 to 65535"),
        ("TENURE_REDACT", "personal,everything", "some of secret, personal, contact, exfiltration, injection"),
        ("TENURE_LOG_LEVEL", "loud", "debug, info, warning or error"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_would_be_right(name: str, value: str, right: str) -> None:
    with pytest.raises(Refused, match=f"{name}='{value}' is not {right}"):
        config.load({name: value})


@pytest.mark.req("R094")
def test_secrets_are_redacted_whatever_is_set() -> None:
    assert config.load({}).redacted == {"secret", "personal"}
    assert config.load({"TENURE_REDACT": ""}).redacted == {"secret"}
    assert config.load({"TENURE_REDACT": "contact, injection"}).redacted == {"secret", "contact", "injection"}


@pytest.mark.parametrize("url", ["foo://x:secret@y/z", "no address at all", "mysql://user:secret@host/db"])
def test_a_database_that_nobody_knows_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(Refused, match="TENURE_DATABASE_URL") as refusal:
        Database(url)
    assert "secret" not in refusal.value.message + refusal.value.fix


def test_data_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    migrate.upgrade(database)
    migrate.upgrade(database)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Refused, match="newer Tenure"):
        migrate.upgrade(database)
    database.close()


def test_a_file_that_is_no_database_is_one_clear_failure(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_bytes(b"this is not a database, it is a text" * 50)
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    with pytest.raises(Failed, match="cannot be opened"):
        schema.check(database)
    database.close()
