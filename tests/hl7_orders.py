"""HL7 orders as an order filler writes them, and a client that sends them."""

from __future__ import annotations

import socket
from contextlib import contextmanager

from cxr_pacs.hl7v2.mllp import framed

__all__ = ["answered", "connected", "omi", "orm", "received", "sent"]


def _msh(kind, structure, control_id, version, character_set):
    return (
        f"MSH|^~\\&|RIS|HOSPITAL|CXRPACS|RADIOLOGY|20261124080000||{kind}^{structure}|{control_id}|P|{version}"
        f"||||||{character_set}"
    )


def orm(
    control_id,
    *,
    control="NW",
    order="1",
    name="Doe^Jane",
    status="SC",
    character_set="UNICODE UTF-8",
    encoding="utf-8",
    start="20261124093000",
    study="",
):
    """An ORM^O01 of one step, version 2.3.1, as RAD-4 has it; its order has the accession number A`order`."""
    who = f"D9^Orderer^Olga||A{order}|R{order}|S{order}|DX1|||DX|||1^once^^{start}^^S||||^Cough"
    segments = [
        _msh("ORM", "O01", control_id, "2.3.1", character_set),
        f"PID|1||P{order}^^^HOSPITAL^PI||{name}||19600131|F",
        f"PV1|1|O|WARD7^^^HOSPITAL|||||D7^Referrer^Ada^^^Dr|||||||||||V{order}",
        f"ORC|{control}|PL{order}^RIS|FL{order}^RIS||{status}||1^once^^{start}^^S",
        f"OBR|1|PL{order}^RIS|FL{order}^RIS|CXR2^Chest PA^99RIS^DXC^Chest digital^99RIS||||||||||||{who}",
        *([f"ZDS|{study}^^Application^DICOM"] if study else []),
    ]
    return "".join(f"{segment}\r" for segment in segments).encode(encoding)


def omi(control_id, *, control="NW", order="1", steps=("1",), name="Doe^Jane", study="1.2.3.4"):
    """An OMI^O23 of one procedure and `steps` of it, version 2.5.1."""
    segments = [
        _msh("OMI", "O23^OMI_O23", control_id, "2.5.1", "UNICODE UTF-8"),
        f"PID|1||P{order}^^^HOSPITAL^PI||{name}||19600131|M",
        f"ORC|{control}|PL{order}|FL{order}||SC",
        "TQ1|1||||||20261124101500||R",
        f"OBR|1|PL{order}|FL{order}|CXR2^Chest PA^99RIS",
        *(
            f"IPC|A{order}|R{order}|{study}|S{order}-{step}|CR|DXC^Chest digital^99RIS|ROOM7||CR1"
            for step in steps
        ),
    ]
    return "".join(f"{segment}\r" for segment in segments).encode()


@contextmanager
def connected(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        yield connection


def received(connection):
    """One answer, by segments and fields; empty when the peer has closed."""
    content = b""
    while not content.endswith(b"\x1c\r"):
        if not (piece := connection.recv(4096)):
            assert content == b"", content
            return {}
        content += piece
    return answered(content[1:-2])


def answered(content):
    """An answer by segments and fields."""
    segments = [line.split("|") for line in content.decode("latin-1").split("\r") if line]
    return {fields[0]: fields for fields in segments}


def sent(connection, content):
    """Send a message and give its answer."""
    connection.sendall(framed(content))
    return received(connection)
