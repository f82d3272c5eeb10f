// From TLS settings to what a gRPC port is opened with.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "engine/base/status.h"
#include "server/tls_options.h"

namespace switchyard {

// Plain text when TLS is off. With TLS the files are read again every `reload_seconds` by a thread of gRPC's, and a changed certificate,
// key or client root holds for connections made afterwards; put certificate and key in place together (a renamed directory or symbolic
// link, as mounted Kubernetes secrets have it): a pair that does not match is used by no new connection until it does. NOT_FOUND when a
// file cannot be read; INVALID_ARGUMENT when one is no PEM, or key and certificate do not belong together. Blocks on reading.
StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsOptions& options);

// Whether the files as they are now could open a port; the same errors. OK when TLS is off.
Status CheckTlsFiles(const TlsOptions& options);

// gRPC re-reads the files and says nothing of what it finds: this one looks with it and logs what became of them. For one thread.
class TlsFilesWatch {
 public:
  // The files have just been accepted by MakeServerCredentials.
  explicit TlsFilesWatch(TlsOptions options);
  // To be called every reload_seconds. Logs a change of the files, and, once until it changes, why they cannot be used: new connections are
  // then refused. Returns whether the files can be used.
  bool Look();

 private:
  std::string Content() const;

  const TlsOptions options_;
  std::string content_, last_complaint_;
};

}  // namespace switchyard
