// Status helpers: every fallible call returns absl::Status or absl::StatusOr<T>, made through the functions here.
//
// Debian builds abseil with its own string_view (not std::string_view), so the absl factories do not take std::string_view.
// The helpers below take anything absl::StrFormat can print (std::string, std::string_view, numbers) and keep that detail in one place.
//
// Codes mean: INVALID_ARGUMENT the caller's fault; NOT_FOUND an unknown name; FAILED_PRECONDITION the state does not allow it;
// RESOURCE_EXHAUSTED load or budget; DATA_LOSS a broken file; UNIMPLEMENTED a valid feature we refuse by name; INTERNAL our own bug.
// A message says what, where, what was expected and what was found.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

namespace switchyard {

using absl::Status;
using absl::StatusOr;

inline Status OkStatus() { return absl::OkStatus(); }

#define SWITCHYARD_DEFINE_STATUS_FACTORY(Name, Factory)                                     \
  template <typename... Args>                                                               \
  [[nodiscard]] Status Name(const absl::FormatSpec<Args...>& format, const Args&... args) { \
    return absl::Factory(absl::StrFormat(format, args...));                                 \
  }
SWITCHYARD_DEFINE_STATUS_FACTORY(InvalidArgument, InvalidArgumentError)
SWITCHYARD_DEFINE_STATUS_FACTORY(NotFound, NotFoundError)
SWITCHYARD_DEFINE_STATUS_FACTORY(AlreadyExists, AlreadyExistsError)
SWITCHYARD_DEFINE_STATUS_FACTORY(FailedPrecondition, FailedPreconditionError)
SWITCHYARD_DEFINE_STATUS_FACTORY(ResourceExhausted, ResourceExhaustedError)
SWITCHYARD_DEFINE_STATUS_FACTORY(DataLoss, DataLossError)
SWITCHYARD_DEFINE_STATUS_FACTORY(Unimplemented, UnimplementedError)
SWITCHYARD_DEFINE_STATUS_FACTORY(Unavailable, UnavailableError)
SWITCHYARD_DEFINE_STATUS_FACTORY(OutOfRange, OutOfRangeError)
SWITCHYARD_DEFINE_STATUS_FACTORY(Cancelled, CancelledError)
SWITCHYARD_DEFINE_STATUS_FACTORY(DeadlineExceeded, DeadlineExceededError)
SWITCHYARD_DEFINE_STATUS_FACTORY(Internal, InternalError)
#undef SWITCHYARD_DEFINE_STATUS_FACTORY

// The status' message as std::string_view (absl's own string_view is a different type here).
inline std::string_view Message(const Status& status) { return {status.message().data(), status.message().size()}; }

// The same code with "context: " put before the message; OK stays OK. Use it to add the file or the request a lower room cannot know.
inline Status Annotate(const Status& status, std::string_view context) {
  if (status.ok()) return status;
  return Status(status.code(), absl::StrFormat("%s: %s", context, Message(status)));
}

}  // namespace switchyard

#define SWITCHYARD_CONCAT_INNER(a, b) a##b
#define SWITCHYARD_CONCAT(a, b) SWITCHYARD_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                                                 \
  do {                                                                        \
    if (::switchyard::Status status_ = (expr); !status_.ok()) return status_; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_IMPL(SWITCHYARD_CONCAT(statusor_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(statusor, lhs, expr)         \
  auto statusor = (expr);                                  \
  if (!statusor.ok()) return std::move(statusor).status(); \
  lhs = *std::move(statusor)
