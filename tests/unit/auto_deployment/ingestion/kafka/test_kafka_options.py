from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any

import pytest

from auto_deployment.common.settings import load_settings

LOGIN: dict[str, Any] = {
    "kafka_security_mechanism": "SCRAM-SHA-256",
    "kafka_security_user": "reader",
    "kafka_security_password": "hunter2hunter2",
}


def options(module: str, **given: object) -> dict[str, Any]:
    """What a client gives to its library."""
    with warnings.catch_warnings():
        # kafka-python reads its schemas with a function that Python 3.11 and 3.12 call deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        client = importlib.import_module(f"auto_deployment.ingestion.kafka.{module}")
    made: dict[str, Any] = client.consumer_options(load_settings(_env_file=None, kafka_bootstrap_servers="a:1,b:2", **given))
    return made


def test_librdkafka_is_configured_to_leave_the_broker_as_it_is() -> None:
    """No topic is made, no offset kept, none chosen in our place."""
    made = options("confluent_client")
    assert made["bootstrap.servers"] == "a:1,b:2"
    assert (made["allow.auto.create.topics"], made["enable.auto.commit"], made["enable.auto.offset.store"]) == (False,) * 3
    assert (made["auto.offset.reset"], made["isolation.level"]) == ("error", "read_committed")
    assert made["security.protocol"] == "PLAINTEXT"
    assert not {name for name in made if name.startswith(("sasl", "ssl"))}


def test_kafka_python_is_configured_to_leave_the_broker_as_it_is() -> None:
    """No group, no offset kept, none chosen in our place."""
    made = options("kafka_python_client")
    assert made["bootstrap_servers"] == "a:1,b:2"
    assert (made["group_id"], made["enable_auto_commit"], made["auto_offset_reset"]) == (None, False, "none")
    assert made["isolation_level"] == "read_committed"
    assert (made["security_protocol"], made["ssl_context"], made["sasl_mechanism"]) == ("PLAINTEXT", None, None)


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_both_get_the_login(protocol: str) -> None:
    """In their own names for it; with TLS they check the broker's certificate and name."""
    ours, theirs = (
        options(module, kafka_security_protocol=protocol, **LOGIN) for module in ("kafka_python_client", "confluent_client")
    )
    assert (ours["security_protocol"], theirs["security.protocol"]) == (protocol, protocol)
    assert (ours["sasl_mechanism"], ours["sasl_plain_username"], ours["sasl_plain_password"]) == tuple(LOGIN.values())
    assert (theirs["sasl.mechanism"], theirs["sasl.username"], theirs["sasl.password"]) == tuple(LOGIN.values())
    assert (ours["ssl_context"] is not None) == (protocol == "SASL_SSL")
    assert protocol != "SASL_SSL" or ours["ssl_context"].check_hostname


def test_what_kafka_python_says_is_a_detail_of_our_log(caplog: pytest.LogCaptureFixture) -> None:
    """Its errors do not reach the console, its details are not even made."""
    options("kafka_python_client")
    network = importlib.import_module("auto_deployment.ingestion.kafka.kafka_python_network")
    network.redirect_library_logs()
    network.redirect_library_logs()
    with caplog.at_level(logging.DEBUG, "auto_deployment"):
        logging.getLogger("kafka.net.manager").error("Connection failed: %s", "reset")
        logging.getLogger("kafka.net.manager").info("Closing idle connection")
    # pytest listens to the library's loggers by itself; no other handler on the root hears them.
    found = [(record.levelname, record.message) for record in caplog.records if record.name.startswith("auto_deployment")]
    assert found == [("DEBUG", "kafka.net.manager: Connection failed: reset")]
    assert not logging.getLogger("kafka").propagate
