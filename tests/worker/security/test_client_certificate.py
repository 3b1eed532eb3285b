"""The gate of routes that ask for client certificates, and what it makes of one."""

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.contexts import NOW_S, make_context
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.identity import FIELDS, Identity
from worker.message import Response
from worker.reasons import Block, Fault
from worker.security.client_certificate import ClientCertificateGate, may_carry
from worker.settings import ClientCertificateSettings

CLAIMS = [(name.title(), b"claimed") for name in FIELDS]


@pytest.fixture(scope="module")
def identity() -> Identity:
    pem = trustme.CA().issue_cert("me@a.test").cert_chain_pems[0].bytes()
    return Identity(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER))


def refuse(ctx: Context, status: int, block: Block) -> Response:
    ctx.block = block
    return Response(status, Fields.of())


def gate(*, required: bool = True) -> ClientCertificateGate:
    return ClientCertificateGate(ClientCertificateSettings("a.pem", required), refuse)


def asked(authority: str, identity: Identity | None = None, version: str = "TLSv1.3") -> Context:
    ctx = make_context(*CLAIMS)
    ctx.client.asked, ctx.client.identity, ctx.client.tls_version = authority, identity, version
    return ctx


def test_who_showed_one_passes_and_is_known(identity: Identity) -> None:
    ctx = asked("a.pem", identity)
    assert gate()(ctx) is None
    assert ctx.identity is identity
    assert ctx.request.fields.get(b"client-cert") == identity.lines.split(b"\r\n")[0].split(b": ")[1]
    assert b"claimed" not in ctx.request.fields.encode()


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("authority", ["", "b.pem"])
def test_a_connection_that_was_not_asked_is_misdirected(
    identity: Identity, authority: str, required: bool
) -> None:
    ctx = asked(authority, identity if authority else None)
    assert not may_carry(ctx.client, "a.pem")
    with pytest.raises(EdgeError) as caught:
        gate(required=required)(ctx)
    assert (caught.value.status, caught.value.fault) == (421, Fault.MISDIRECTED)
    assert ctx.identity is None


@pytest.mark.parametrize("version", ["TLSv1.3", ""])
def test_who_showed_none_is_refused_or_unknown(version: str) -> None:
    authority = "a.pem" if version else ""
    ctx = asked(authority, version=version)
    response = gate()(ctx)
    assert response is not None
    assert (response.status, ctx.block) == (403, Block.CLIENT_CERTIFICATE)
    ctx = asked(authority, version=version)
    assert gate(required=False)(ctx) is None
    assert ctx.identity is None
    assert b"claimed" not in ctx.request.fields.encode()


def test_a_certificate_whose_time_is_over_is_none(identity: Identity) -> None:
    until_s, identity.until_s = identity.until_s, NOW_S - 1
    try:
        response = gate()(asked("a.pem", identity))
    finally:
        identity.until_s = until_s
    assert response is not None
    assert response.status == 403
