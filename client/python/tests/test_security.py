"""TLS, tokens and tenants: what the server sees of them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from fake_server import FakeInference, Running

from switchyard import AsyncClient, Client, PermissionDeniedError, Retry, ScoreRequest, Security, UnauthenticatedError, UnavailableError

NEVER = Retry(retries=0)
QUESTION = ScoreRequest("2 + 2 =", [" 4", " 5"])


class Recorder(FakeInference):
    """Keeps the metadata of each call; refuses with `code` when it has one."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata: list[dict[str, str | bytes]] = []
        self.code: grpc.StatusCode | None = None

    def saw(self, request: object, context: grpc.ServicerContext) -> None:
        super().saw(request, context)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.code is not None:
            context.abort(self.code, "not you")


def token_file(folder: Path, text: str = "s3cret-s3cret\n") -> str:
    path = folder / "token"
    path.write_text(text)
    return str(path)


def test_token_and_tenant_go_with_every_call(tmp_path: Path) -> None:
    security = Security(token_file=token_file(tmp_path), tenant="team-a")
    with Running(service := Recorder()) as server, Client(server.address, security=security, retry=NEVER) as client:
        client.score(QUESTION)
        list(client.score_batch([QUESTION]))
    assert len(service.metadata) == 2
    for metadata in service.metadata:
        assert metadata["authorization"] == "Bearer s3cret-s3cret"
        assert metadata["switchyard-tenant"] == "team-a"


def test_the_asyncio_client_sends_them_too(tmp_path: Path) -> None:
    async def ask(address: str) -> None:
        async with AsyncClient(address, security=Security(token_file=token_file(tmp_path)), retry=NEVER) as client:
            await client.score(QUESTION)

    with Running(service := Recorder()) as server:
        asyncio.run(ask(server.address))
    assert service.metadata[0]["authorization"] == "Bearer s3cret-s3cret"


def test_the_environment_counts_when_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHYARD_TOKEN_FILE", token_file(tmp_path))
    monkeypatch.setenv("SWITCHYARD_TENANT", "from-environment")
    with Running(service := Recorder()) as server:
        with Client(server.address, retry=NEVER) as client:
            client.score(QUESTION)
        with Client(server.address, security=Security(), retry=NEVER) as client:
            client.score(QUESTION)
    assert service.metadata[0]["switchyard-tenant"] == "from-environment"
    assert "authorization" not in service.metadata[1]


@pytest.mark.parametrize("text", ["", "\n", "two words", "first\nsecond"])
def test_a_token_file_without_one_token_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="expected one token") as raised:
        Client(security=Security(token_file=token_file(tmp_path, text)))
    assert "second" not in str(raised.value)


def test_certificate_and_key_go_together() -> None:
    with pytest.raises(ValueError, match="together"):
        Security(tls_cert="c")


@pytest.mark.parametrize(
    ("code", "kind"),
    [(grpc.StatusCode.UNAUTHENTICATED, UnauthenticatedError), (grpc.StatusCode.PERMISSION_DENIED, PermissionDeniedError)],
)
def test_refusals_have_classes(code: grpc.StatusCode, kind: type[Exception]) -> None:
    service = Recorder()
    service.code = code
    with Running(service) as server, Client(server.address, retry=NEVER) as client, pytest.raises(kind, match="not you"):
        client.score(QUESTION)


def make_certificate(folder: Path, name: str) -> tuple[str, str]:
    """A self-signed certificate for 127.0.0.1, its own root."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return str(certificate), str(key)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command here to make certificates with")
def test_mutual_tls(tmp_path: Path) -> None:
    server_cert, server_key = make_certificate(tmp_path, "server")
    cert, key = make_certificate(tmp_path, "client")
    credentials = grpc.ssl_server_credentials(
        [(Path(server_key).read_bytes(), Path(server_cert).read_bytes())], Path(cert).read_bytes(), require_client_auth=True
    )
    with Running(credentials=credentials) as server:
        with Client(server.address, security=Security(tls_ca=server_cert, tls_cert=cert, tls_key=key), retry=NEVER) as client:
            assert client.score(QUESTION).winners.sum == 0
        for wrong in (Security(tls_ca=server_cert), Security(tls_ca=cert, tls_cert=cert, tls_key=key), Security()):
            with Client(server.address, security=wrong, retry=NEVER, timeout=20) as client, pytest.raises(UnavailableError):
                client.score(QUESTION)
