"""What can go wrong in a call: one exception class for each gRPC code that the server documents."""

from __future__ import annotations

import grpc


class SwitchyardError(Exception):
    """A call that failed.

    `code` is the gRPC code, `message` what the server (or the transport) said, `address` who was asked, `request_id` the id of the request
    where it had one.
    """

    def __init__(self, code: grpc.StatusCode, message: str, address: str = "", request_id: str = "") -> None:
        """Use `error_for`, which chooses the class."""
        super().__init__(code, message, address, request_id)
        self.code = code
        self.message = message
        self.address = address
        self.request_id = request_id

    def __str__(self) -> str:
        where = f" [{self.address}]" if self.address else ""
        which = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code.name}{where}{which}: {self.message}"

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later: the server was busy or away."""
        if self.code is grpc.StatusCode.UNAVAILABLE:
            return True
        too_large = "larger than max" in self.message or "the server sends at most" in self.message
        return self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not too_large


class InvalidArgumentError(SwitchyardError):
    """A field is missing, out of range or too long; the message names it."""


class NotFoundError(SwitchyardError):
    """An expert that is not served; the message lists those that are."""


class FailedPreconditionError(SwitchyardError):
    """A pinned generation that is not served, learned routing without a router, a chat without a chat template."""


class ResourceExhaustedError(SwitchyardError):
    """The server's queue is full, or a message is larger than allowed."""


class UnauthenticatedError(SwitchyardError):
    """The server wants a bearer token and got none it knows."""


class PermissionDeniedError(SwitchyardError):
    """The token lacks the role; the message names both."""


class UnavailableError(SwitchyardError):
    """No server answers there, or it is draining."""


class DeadlineExceededError(SwitchyardError):
    """The deadline passed; the server has dropped the work."""


class CancelledError(SwitchyardError):
    """The call was cancelled, by the client or because the server's drain time ran out."""


class InternalError(SwitchyardError):
    """The server's own mistake, or a value that is not finite."""


_CLASSES: dict[grpc.StatusCode, type[SwitchyardError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.INTERNAL: InternalError,
}
_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def error_for(code: grpc.StatusCode | int, message: str, address: str = "", request_id: str = "") -> SwitchyardError:
    """The exception for a gRPC code, given as such or as its number."""
    known = code if isinstance(code, grpc.StatusCode) else _BY_NUMBER.get(code, grpc.StatusCode.UNKNOWN)
    return _CLASSES.get(known, SwitchyardError)(known, message, address, request_id)


def from_rpc_error(error: grpc.RpcError, address: str, request_id: str = "") -> SwitchyardError:
    """The exception for what grpc raised: its sync and asyncio errors both have code() and details()."""
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    details = error.details() if hasattr(error, "details") else str(error)
    return error_for(code, details or "", address, request_id)
