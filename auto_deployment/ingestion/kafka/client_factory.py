"""The Kafka client that the settings choose. Only the chosen library is imported."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from auto_deployment.common.errors import WrongUseError
from auto_deployment.ingestion.kafka.client import CONNECT_SECONDS, PATIENCE_SECONDS

if TYPE_CHECKING:
    from auto_deployment.common.settings import KafkaSettings
    from auto_deployment.ingestion.kafka.client import Client


def open_client(settings: KafkaSettings, patience: float = PATIENCE_SECONDS, connect: float = CONNECT_SECONDS) -> Client:
    """A client of the settings' broker and topic, connected within `connect` seconds.

    During a later outage the client waits for `patience` seconds. Raises WrongUseError if no broker is named or a certificate
    file cannot be used, StreamError if the broker does not answer or refuses the client.
    """
    if settings.kafka_bootstrap_servers is None:
        raise WrongUseError("KAFKA_BOOTSTRAP_SERVERS is not set: name the broker, or read files with --input")
    if settings.kafka_client == "kafka-python":
        with warnings.catch_warnings():
            # The library reads its schemas with a function that Python 3.11 and 3.12 call deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            from auto_deployment.ingestion.kafka.kafka_python_client import KafkaPythonClient  # noqa: PLC0415 - it warns at its import

        return KafkaPythonClient(settings, patience, connect)
    from auto_deployment.ingestion.kafka.confluent_client import ConfluentClient  # noqa: PLC0415 - most never need this library

    return ConfluentClient(settings, patience, connect)
