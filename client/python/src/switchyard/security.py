"""TLS, the bearer token and the tenant of a connection."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import grpc


@dataclass(frozen=True)
class Security:
    """How to reach a server that does not listen to everybody; the files are read when a client is made.

    TLS is spoken when `tls` is set or any of its files is given: `tls_ca` holds the roots the server's certificate must chain to (None: the
    system's), `tls_cert` and `tls_key` this client's certificate and key for mutual TLS. The one line of `token_file` is sent
    as bearer token, `tenant` as the metadata `switchyard-tenant`.
    """

    tls: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    token_file: str | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: expected both or neither")

    @classmethod
    def from_environment(cls) -> Security:
        """What SWITCHYARD_TLS, _TLS_CA, _TLS_CERT, _TLS_KEY, _TOKEN_FILE and _TENANT say, the variables of the command line too."""
        texts = {f.name: os.environ.get(f"SWITCHYARD_{f.name.upper()}") or None for f in fields(cls) if f.name != "tls"}
        on = os.environ.get("SWITCHYARD_TLS", "").lower() in ("1", "true", "on", "yes")
        return cls(tls=on, **texts)

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """None: plain text. OSError when a file cannot be read."""
        if not (self.tls or self.tls_ca or self.tls_cert):
            return None
        ca, key, chain = (None if path is None else Path(path).read_bytes() for path in (self.tls_ca, self.tls_key, self.tls_cert))
        return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=chain)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call. OSError or ValueError when the token cannot be had; no message quotes it."""
        headers: list[tuple[str, str]] = []
        if self.token_file is not None:
            token = Path(self.token_file).read_text(encoding="ascii", errors="replace").strip()
            if not token or not token.isprintable() or not token.isascii() or " " in token:
                raise ValueError(f"{self.token_file}: expected one token of printable ASCII without blanks")
            headers.append(("authorization", f"Bearer {token}"))
        if self.tenant is not None:
            headers.append(("switchyard-tenant", self.tenant))
        return tuple(headers)
