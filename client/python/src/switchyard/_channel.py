"""Channel settings and method names common to both clients."""

from __future__ import annotations

from collections.abc import Sequence

DEFAULT_ADDRESS = "127.0.0.1:8500"
SERVICE = "/switchyard.v1.Inference/"

Options = list[tuple[str, str | int]]
Metadata = tuple[tuple[str, str], ...]


def channel_options(max_message_mib: int, extra: Sequence[tuple[str, str | int]]) -> Options:
    """Room for large messages, a quick way back after a server's restart, no HTTP proxy from the environment; `extra` overrides."""
    size = max_message_mib * 1024 * 1024
    options: dict[str, str | int] = {
        "grpc.max_send_message_length": size,
        "grpc.max_receive_message_length": size,
        "grpc.max_reconnect_backoff_ms": 5000,
        "grpc.enable_http_proxy": 0,
    }
    options.update(extra)
    return list(options.items())


def addresses_of(address: str | Sequence[str]) -> list[str]:
    """One or several HOST:PORT."""
    addresses = [address] if isinstance(address, str) else list(address)
    if not addresses or not all(addresses):
        raise ValueError("address: expected at least one HOST:PORT")
    return addresses
