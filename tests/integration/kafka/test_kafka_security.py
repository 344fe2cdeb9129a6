"""How both clients log in, and what they say when the broker refuses them or they do not trust it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin._resource import ResourceType

from auto_deployment.common.errors import WrongUseError
from auto_deployment.ingestion.kafka.client import StreamError
from scripts.broker.broker import PASSWORD, USER
from tests.integration.kafka.lines import LINES, read_all

if TYPE_CHECKING:
    from scripts.broker.broker import Broker
    from tests.integration.kafka.conftest import MakeClient

pytestmark = pytest.mark.slow

SECONDS = 8.0


def login(protocol: str, mechanism: str, password: str = PASSWORD) -> dict[str, Any]:
    """Settings of a login."""
    return {"protocol": protocol, "mechanism": mechanism, "user": USER, "password": password}


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SASL_SSL", "PLAIN"), ("SASL_SSL", "SCRAM-SHA-256"), ("SASL_PLAINTEXT", "PLAIN"), ("SASL_PLAINTEXT", "SCRAM-SHA-512")],
)
def test_a_user_with_the_right_password_reads(
    broker: Broker, lasting_topic: str, make_client: MakeClient, protocol: str, mechanism: str
) -> None:
    """With and without TLS, by each mechanism."""
    authority: dict[str, Any] = {"ca_file": broker.certificates.authority} if protocol == "SASL_SSL" else {}
    client = make_client(lasting_topic, **login(protocol, mechanism), **authority)
    assert read_all(client, 0, 0, client.end_offsets()[0]) == LINES


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_reported_at_once(
    broker: Broker, lasting_topic: str, make_client: MakeClient, mechanism: str
) -> None:
    """As a failed authentication, not as a broker that is away, and without the password."""
    start = time.monotonic()
    with pytest.raises(StreamError, match=r"authentication failed at 127\.0\.0\.1.*KAFKA_SECURITY_PASSWORD") as caught:
        make_client(lasting_topic, **login("SASL_SSL", mechanism, "hunter2hunter2"), ca_file=broker.certificates.authority)
    assert time.monotonic() - start < SECONDS
    assert "hunter2" not in str(caught.value)


def test_a_broker_without_logins_is_reported_as_such(lasting_topic: str, make_client: MakeClient) -> None:
    """A login at a listener without authentication fails as an authentication."""
    with pytest.raises(StreamError, match="authentication failed"):
        make_client(lasting_topic, **login("SASL_PLAINTEXT", "PLAIN"), at="PLAINTEXT")


def test_a_clients_certificate_lets_it_in(broker: Broker, lasting_topic: str, make_client: MakeClient) -> None:
    """Where the broker asks for one."""
    files = broker.certificates
    client = make_client(
        lasting_topic, protocol="SSL", ca_file=files.authority, cert_file=files.client, key_file=files.client_key
    )
    assert read_all(client, 0, 0, 3_000) == LINES


@pytest.mark.parametrize(
    ("protocol", "authority"), [("SSL", "stranger"), ("SASL_SSL", "stranger"), ("SSL", "authority")], ids=lambda value: value
)
def test_a_certificate_that_is_not_trusted_is_reported_at_once(
    broker: Broker, lasting_topic: str, make_client: MakeClient, protocol: str, authority: str
) -> None:
    """The broker's, from an authority that is not ours; or ours, which the broker misses."""
    secured = login(protocol, "PLAIN") if protocol == "SASL_SSL" else {"protocol": protocol}
    start = time.monotonic()
    with pytest.raises(StreamError, match=r"no TLS connection to 127\.0\.0\.1.*certificate.*KAFKA_SECURITY_CA_FILE"):
        make_client(lasting_topic, **secured, ca_file=getattr(broker.certificates, authority))
    assert time.monotonic() - start < SECONDS


def test_a_file_that_is_no_certificate_is_wrong_use(broker: Broker, lasting_topic: str, make_client: MakeClient) -> None:
    """The error names the setting, and comes before any connection."""
    with pytest.raises(WrongUseError, match="KAFKA_SECURITY_CA_FILE"):
        make_client(lasting_topic, protocol="SSL", ca_file=broker.certificates.client_key)


def test_a_topic_that_the_user_may_not_read_is_reported(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """As a matter of rights, not as a broker that is away."""
    broker.deny(ResourceType.TOPIC, topic)
    client = make_client(topic, **login("SASL_PLAINTEXT", "PLAIN"))
    start = time.monotonic()
    with pytest.raises(StreamError, match=f"topic {topic} cannot be read.*rights of KAFKA_SECURITY_USER"):
        client.end_offsets()
    assert time.monotonic() - start < SECONDS


def test_rights_that_are_taken_away_end_a_read(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """With what was there before."""
    broker.produce(topic, LINES[:100])
    client = make_client(topic, **login("SASL_PLAINTEXT", "PLAIN"))
    assert read_all(client, 0, 0, 100) == LINES[:100]
    broker.deny(ResourceType.TOPIC, topic)
    broker.produce(topic, LINES[100:200])
    with pytest.raises(StreamError, match=f"topic {topic} cannot be read.*rights of KAFKA_SECURITY_USER"):
        read_all(client, 0, 100, 201)


def test_no_right_to_a_group_is_needed(broker: Broker, lasting_topic: str, make_client: MakeClient) -> None:
    """None is joined, so none has to be allowed."""
    broker.deny(ResourceType.GROUP, "movierec")
    client = make_client(lasting_topic, **login("SASL_PLAINTEXT", "PLAIN"))
    assert read_all(client, 0, 0, 3_000) == LINES
    assert read_all(client, 0, 0, client.end_offsets()[0]) == LINES
