"""A real Apache Kafka broker: one node with storage of its own, on loopback ports that it keeps when it is started again."""

from __future__ import annotations

import base64
import ctypes
import secrets
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

from auto_deployment.common.errors import RunError
from scripts.broker.certificates import HOST, write_certificates
from scripts.ports import reserve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from confluent_kafka import Message

USER, PASSWORD = "reader", "a-password-of-the-tests"
LISTENERS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
# A listener whose advertised host no machine can look up.
UNKNOWN, UNKNOWN_ADDRESS = "UNKNOWN", "broker.internal.example:9092"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
JVM = ("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
STARTED = "Kafka Server started"
START_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listeners={listeners},UNKNOWN://{unknown},CONTROLLER://{controller}
advertised.listeners={listeners},UNKNOWN://{unknown_address}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,UNKNOWN:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=100
auto.create.topics.enable=true
# A node that was killed is taken back as soon as its session has run out: by default after 9 s.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=150
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
ssl.keystore.type=PEM
ssl.keystore.location={certificates.broker}
ssl.truststore.type=PEM
ssl.truststore.location={certificates.authority}
listener.name.ssl.ssl.client.auth=required
# Everybody may do everything but what `deny` takes away; the open listener's nameless user is never stopped.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
"""
SECURITY = "org.apache.kafka.common.security"
LOGIN = """
listener.name.{listener}.plain.sasl.jaas.config={security}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.{listener}.scram-sha-256.sasl.jaas.config={security}.scram.ScramLoginModule required;
listener.name.{listener}.scram-sha-512.sasl.jaas.config={security}.scram.ScramLoginModule required;
"""


class BrokerError(RunError):
    """The broker ended, did not start in time, or did not take a message."""


class Broker:
    """A broker in `folder` with four listeners: open, TLS with a client's certificate, and USER's login without and with TLS.

    It starts empty, creates a topic on a client's request (unless the client forbids it), and never outlives its parent.
    """

    def __init__(self, folder: Path, libs: Path) -> None:
        self.certificates = write_certificates(folder / "certificates")
        self._folder = folder
        self._libs = libs
        self._ports = dict(zip((*LISTENERS, UNKNOWN, "CONTROLLER"), reserve(len(LISTENERS) + 2), strict=True))
        self._admin: AdminClient
        self._producer: Producer | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._formatted = False

    def address(self, listener: str = "PLAINTEXT") -> str:
        """The `host:port` of a listener."""
        return f"{HOST}:{self._ports[listener]}"

    def start(self) -> None:
        """Start it, or start it again after `kill` or `stop`, and wait until it serves."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it and do not wait. The kernel ends it with the thread that calls this: let that be the main one."""
        if not self._formatted:
            self._format()
        self._producer = None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - there is no other way to ask for it
            )

    def wait(self) -> None:
        """Wait until it serves."""
        self._wait_until(lambda: STARTED in self.log_text(), "start")
        self._wait_until(self._serves, "answer")

    def stop(self) -> None:
        """Have it end in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with -9; nothing happens where it does not run."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Have it stand still: connections stay, nothing is answered."""
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on after `freeze`, and wait until it serves."""
        self._running.send_signal(signal.SIGCONT)
        self.wait()

    def is_running(self) -> bool:
        """Whether its process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def create_topic(self, name: str, partitions: int = 1, configs: Mapping[str, str] | None = None) -> None:
        """Create a topic and wait until it is there."""
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(configs or {}))
        self._admin.create_topics([topic])[name].result(30)
        self._wait_for_leaders(name, partitions)

    def add_partitions(self, name: str, partitions: int) -> None:
        """Have a topic grow to so many partitions in all."""
        self._admin.create_partitions([NewPartitions(name, partitions)])[name].result(30)
        self._wait_for_leaders(name, partitions)

    def topics(self) -> set[str]:
        """The names of all topics."""
        return set(self._admin.list_topics(timeout=10).topics)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Remove what is before an offset, as retention does."""
        where = TopicPartition(topic, partition, before)
        for done in self._admin.delete_records([where]).values():
            done.result(30)

    def produce(self, topic: str, values: Iterable[bytes | None], partition: int = 0, key: bytes | None = None) -> None:
        """Append messages to a partition, in order, and wait until the broker has them."""
        self._producer = self._producer or self.producer()
        send(self._producer, topic, values, partition, key)
        if self._producer.flush(60):
            raise BrokerError("the broker did not take all messages")

    def deny(self, kind: ResourceType, name: str) -> None:
        """Take all rights to a topic or a group away from USER."""
        rule = AclBinding(
            kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", AclOperation.ALL, AclPermissionType.DENY
        )
        self._admin.create_acls([rule])[rule].result(30)

    def committed(self, group: str, where: TopicPartition) -> int | None:
        """The offset that a group has committed, if it has."""
        found: list[TopicPartition] = []

        def is_known() -> bool:
            offsets = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [where])])
            try:
                found[:] = offsets[group].result(30).topic_partitions
            except KafkaException:  # a coordinator that is still loading
                return False
            return True

        self._wait_until(is_known, f"group {group}")
        return found[0].offset if found[0].offset >= 0 else None

    def producer(self, **options: str) -> Producer:
        """A producer of librdkafka's with settings of its own."""
        return Producer(
            {"bootstrap.servers": self.address(), "linger.ms": 5, "enable.idempotence": True, "log_level": 0, **options}
        )

    def log_text(self) -> str:
        """The broker's output since its last start."""
        return self._log.read_text(errors="replace")

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BrokerError("the broker was not started")
        return self._process

    @property
    def _java(self) -> list[str]:
        return [*JVM, "-cp", f"{self._libs}/*"]

    @property
    def _log(self) -> Path:
        return self._folder / "broker.log"

    @property
    def _settings(self) -> Path:
        return self._folder / "server.properties"

    def _format(self) -> None:
        """Write the settings and make the storage, with the users that are kept in it."""
        self._settings.write_text(self._settings_text())
        users = [f"--add-scram={mechanism}=[name={USER},password={PASSWORD}]" for mechanism in SCRAM]
        tool = [*self._java, "kafka.tools.StorageTool", "format", "-c", str(self._settings), "-t", _cluster_id()]
        subprocess.run([*tool, *users], check=True, capture_output=True, timeout=START_SECONDS)
        self._formatted = True

    def _settings_text(self) -> str:
        listeners = ",".join(f"{name}://{self.address(name)}" for name in LISTENERS)
        controller, certificates = self.address("CONTROLLER"), self.certificates
        text = SETTINGS.format(
            listeners=listeners,
            unknown=self.address(UNKNOWN),
            unknown_address=UNKNOWN_ADDRESS,
            controller=controller,
            folder=self._folder,
            certificates=certificates,
        )
        names = [name.lower() for name in LISTENERS if name.startswith("SASL")]
        return text + "".join(LOGIN.format(listener=name, security=SECURITY, user=USER, password=PASSWORD) for name in names)

    def _wait_until(self, condition: Callable[[], object], what: str) -> None:
        until = time.monotonic() + START_SECONDS
        while not condition():
            if not self.is_running():
                raise BrokerError(f"the broker ended: {self.log_text()[-2000:]}")
            if time.monotonic() > until:
                raise BrokerError(f"no {what} within {START_SECONDS:g} s: {self.log_text()[-2000:]}")
            time.sleep(0.05)

    def _serves(self) -> bool:
        """Whether it lists itself as a broker. Each request needs a new client: an old one may have stopped asking."""
        self._admin = AdminClient({"bootstrap.servers": self.address(), "log_level": 0})
        try:
            return bool(self._admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def _wait_for_leaders(self, topic: str, partitions: int) -> None:
        def have_come() -> bool:
            found = self._admin.list_topics(topic, timeout=10).topics[topic].partitions
            return len(found) == partitions and all(one.leader == 1 for one in found.values())

        self._wait_until(have_come, f"topic {topic}")

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)


def send(producer: Producer, topic: str, values: Iterable[bytes | None], partition: int = 0, key: bytes | None = None) -> None:
    """Hand messages to a producer, waiting where its queue is full, or where a partition is too new for it to know."""
    until = time.monotonic() + START_SECONDS
    for value in values:
        while True:
            try:
                producer.produce(topic, value, key, partition, on_delivery=_check_delivery)
                break
            except BufferError:
                producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].name() != "_UNKNOWN_PARTITION" or time.monotonic() > until:
                    raise
                producer.list_topics(topic, 10)


def _check_delivery(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        raise BrokerError(str(error))


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode().replace("-", "A")


def _end_with_parent() -> None:
    """Have the kernel end the broker when the tests are killed without a chance to do so."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
