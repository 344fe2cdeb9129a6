"""An Apache Kafka broker in a container: one node with open access, on a loopback port."""

from __future__ import annotations

import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from scripts.broker.broker import BrokerError
from scripts.lib.images.docker import docker
from scripts.ports import reserve

IMAGE = "apache/kafka:4.1.1"
START_SECONDS = 60.0
CONTROLLER_PORT, INNER_PORT = 9093, 9094


class ContainerBroker:
    """A broker in the container `name`, started empty.

    Clients on this machine reach it at `address`, and containers of a network that it has joined at `inner_address`.
    """

    def __init__(self, name: str) -> None:
        (self._port,) = reserve()
        self._name = name
        self.address = f"127.0.0.1:{self._port}"
        self.inner_address = f"{name}:{INNER_PORT}"

    def start(self) -> None:
        """Start it and wait until it serves. Raises DockerError, or BrokerError with the end of its log."""
        published = ("--publish", f"{self.address}:{self._port}")
        environment = [word for each in self._settings().items() for word in ("--env", "=".join(each))]
        docker("run", "--detach", "--rm", "--pull", "never", "--name", self._name, *published, *environment, IMAGE)
        until = time.monotonic() + START_SECONDS
        while not self._serves():
            if time.monotonic() > until:
                raise BrokerError(f"the broker does not answer within {START_SECONDS:g} s: {self._log_end()}")
            time.sleep(0.2)

    def join(self, network: str) -> None:
        """Let containers of `network` reach it. Raises DockerError."""
        docker("network", "connect", network, self._name)

    def stop(self) -> None:
        """Remove it with its data. Again: does nothing. Raises DockerError."""
        docker("rm", "--force", "--volumes", self._name)

    def _settings(self) -> dict[str, str]:
        # The image takes its own settings only where none is given, so these are complete.
        return {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{CONTROLLER_PORT}",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": f"PLAINTEXT://:{self._port},INNER://:{INNER_PORT},CONTROLLER://:{CONTROLLER_PORT}",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{self.address},INNER://{self.inner_address}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,INNER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        }

    def _serves(self) -> bool:
        try:
            return bool(AdminClient({"bootstrap.servers": self.address, "log_level": 0}).list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def _log_end(self) -> str:
        lines = docker("logs", "--tail", "3", self._name).strip()
        return lines or "its log is empty"
