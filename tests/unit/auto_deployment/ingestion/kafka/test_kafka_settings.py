from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auto_deployment.common.errors import WrongUseError
from auto_deployment.common.settings import load_settings

LOGIN: dict[str, Any] = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_security_mechanism": "SCRAM-SHA-256",
    "kafka_security_user": "reader",
    "kafka_security_password": "hunter2hunter2",
}
FILE = str(Path(__file__))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder without a `.env` of its own."""
    monkeypatch.chdir(tmp_path)


def test_without_any_setting_there_is_no_broker() -> None:
    """The topic and the library have the contract's defaults."""
    settings = load_settings()
    assert settings.kafka_bootstrap_servers is None
    assert (settings.kafka_topic, settings.kafka_client) == ("movielog4", "kafka-python")
    assert settings.kafka_security_protocol is None


def test_the_broker_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of the settings."""
    named = {"KAFKA_BOOTSTRAP_SERVERS": "a:9092", "KAFKA_TOPIC": "movielog9", "KAFKA_CLIENT": "confluent-kafka"}
    for name, value in {**named, **{name.upper(): value for name, value in LOGIN.items()}}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.kafka_bootstrap_servers, settings.kafka_topic) == ("a:9092", "movielog9")
    assert (settings.kafka_client, settings.kafka_security_protocol) == ("confluent-kafka", "SASL_SSL")
    assert settings.kafka_security_password is not None
    assert settings.kafka_security_password.get_secret_value() == "hunter2hunter2"


def test_several_servers_are_joined_by_commas() -> None:
    """Blanks between them do not matter."""
    assert (
        load_settings(kafka_bootstrap_servers=" a:9092, 10.0.0.1:1 ,[::1]:2").kafka_bootstrap_servers
        == "a:9092,10.0.0.1:1,[::1]:2"
    )


@pytest.mark.parametrize("value", ["a", "a:", "a:b", ",", "a:9092,", "a b:9092", "http://a:9092", ":9092"])
def test_a_server_without_a_port_is_refused(value: str) -> None:
    """So is one that is an address of something else."""
    with pytest.raises(WrongUseError, match=r"KAFKA_BOOTSTRAP_SERVERS: .*host:port"):
        load_settings(kafka_bootstrap_servers=value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_TOPIC", "a topic"),
        ("KAFKA_TOPIC", "a/b"),
        ("KAFKA_CLIENT", "aiokafka"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SECURITY_MECHANISM", "GSSAPI"),
        ("KAFKA_SECURITY_CA_FILE", "/nowhere/ca.pem"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_name(name: str, value: str) -> None:
    """Before anything is connected to."""
    with pytest.raises(WrongUseError, match=f"{name}: "):
        load_settings(**{name.lower(): value})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({**LOGIN, "kafka_security_password": None}, "KAFKA_SECURITY_PASSWORD: is missing"),
        ({**LOGIN, "kafka_security_user": None}, "KAFKA_SECURITY_USER: is missing"),
        ({**LOGIN, "kafka_security_mechanism": None}, "KAFKA_SECURITY_MECHANISM: is missing"),
        ({**LOGIN, "kafka_security_protocol": None}, "KAFKA_SECURITY_PROTOCOL: must be SASL_PLAINTEXT or SASL_SSL"),
        ({**LOGIN, "kafka_security_protocol": "SSL"}, "KAFKA_SECURITY_PROTOCOL: must be SASL_PLAINTEXT or SASL_SSL"),
        ({"kafka_security_ca_file": FILE}, "KAFKA_SECURITY_PROTOCOL: must be SSL or SASL_SSL"),
        ({"kafka_security_protocol": "SSL", "kafka_security_cert_file": FILE}, "KAFKA_SECURITY_KEY_FILE: is missing"),
        ({"kafka_security_protocol": "SSL", "kafka_security_key_file": FILE}, "KAFKA_SECURITY_CERT_FILE: is missing"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(given: dict[str, Any], named: str) -> None:
    """By the name of the one to change, so that no login is left out in silence."""
    with pytest.raises(WrongUseError, match=named):
        load_settings(**given)


def test_no_text_about_the_settings_shows_the_password() -> None:
    """Neither their own, nor that of an error or of its cause."""
    settings = load_settings(**LOGIN)
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"
    with pytest.raises(WrongUseError) as caught:
        load_settings(**{**LOGIN, "kafka_security_mechanism": None})
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r} {caught.value.__cause__}"
