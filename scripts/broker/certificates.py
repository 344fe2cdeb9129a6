"""Certificates for the broker's encrypted listeners and for its clients, in PEM, from an authority of the tests' own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"


class Certificates(NamedTuple):
    """Files in PEM: two authorities, of which the broker and its client belong to the first, and their own certificates."""

    authority: Path
    stranger: Path
    broker: Path
    client: Path
    client_key: Path


def write_certificates(folder: Path) -> Certificates:
    """Make all of them anew."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(*(folder / f"{name}.pem" for name in Certificates._fields))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(made.authority)
    trustme.CA().cert_pem.write_to_path(made.stranger)
    server, client = authority.issue_cert(HOST), authority.issue_cert("reader@example.com")
    made.broker.write_bytes(_key(server) + b"".join(blob.bytes() for blob in server.cert_chain_pems))
    made.client.write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))
    made.client_key.write_bytes(_key(client))
    return made


def _key(certificate: trustme.LeafCert) -> bytes:
    """The private key in PKCS #8, the only form that Kafka reads."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
