// The output file of a batch: what an earlier run left in it, and the lines of this one.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "client/batch.h"
#include "engine/base/status.h"

namespace switchyard::client {

// The id of a request or response line; "" when it has none or is no JSON object.
std::string LineId(const std::string& line);

std::string ErrorLine(const std::string& id, const grpc::Status& status);

struct EarlierLines {
  int64_t lines = 0;
  int64_t failed = 0;
};

// Checks what is in `path` against the requests' ids, in order, and cuts off a torn last line. A missing file is an empty one.
StatusOr<EarlierLines> CheckEarlierOutput(const std::string& path, const std::vector<std::string>& request_ids, const BatchMethod& method);

// Appends lines, each handed to the system at once so that a killed run leaves at most one torn line. Thread-compatible.
class LineAppender {
 public:
  static StatusOr<LineAppender> Open(const std::string& path, bool truncate);
  // DATA_LOSS when it cannot be written (a full disk).
  Status Append(const std::string& line);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  LineAppender(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace switchyard::client
