#include "client/batch.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "client/batch_output.h"
#include "client/ordered_pool.h"
#include "client/proto_json.h"
#include "engine/mcq/lines.h"

namespace switchyard::client {
namespace {

struct Answer {
  std::string line;
  grpc::Status status;
};

// The next line that holds something.
std::optional<Line> NextRequest(LineReader* reader) {
  while (std::optional<Line> line = reader->Next()) {
    if (line->too_long || !IsBlank(line->text)) return line;
  }
  return std::nullopt;
}

StatusOr<std::vector<std::string>> ReadIds(const std::string& path) {
  ASSIGN_OR_RETURN(LineReader reader, LineReader::Open(path));
  std::vector<std::string> ids;
  while (const std::optional<Line> line = NextRequest(&reader)) ids.push_back(LineId(line->text));
  return ids;
}

Answer AnswerLine(const Line& line, const BatchMethod& method, const RetryPolicy& retry) {
  const std::string id = LineId(line.text);
  const auto failed = [&](const grpc::Status& status) { return Answer{ErrorLine(id, status), status}; };
  if (line.too_long) {
    return failed({grpc::StatusCode::INVALID_ARGUMENT, "line " + std::to_string(line.number) + ": longer than 64 MiB"});
  }
  const std::unique_ptr<google::protobuf::Message> request(method.request_prototype->New());
  if (const Status status = FromJson(line.text, request.get()); !status.ok()) {
    return failed({grpc::StatusCode::INVALID_ARGUMENT, "line " + std::to_string(line.number) + ": " + std::string(Message(status))});
  }
  const std::unique_ptr<google::protobuf::Message> response(method.response_prototype->New());
  const grpc::Status status = CallWithRetry(retry, [&] { return method.call(*request, response.get()); });
  if (!status.ok()) return failed(status);
  return {ToJsonLine(*response), status};
}

Status CheckFiles(const BatchOptions& options) {
  std::error_code error;
  if (std::filesystem::equivalent(options.input, options.output, error)) {
    return InvalidArgument("--input and --output are the same file: %s", options.input);
  }
  return OkStatus();
}

}  // namespace

StatusOr<BatchOutcome> RunBatch(const BatchOptions& options, const BatchMethod& method, Terminal& terminal) {
  RETURN_IF_ERROR(CheckFiles(options));
  ASSIGN_OR_RETURN(const std::vector<std::string> ids, ReadIds(options.input));
  ASSIGN_OR_RETURN(const EarlierLines earlier, CheckEarlierOutput(options.output, ids, method));
  ASSIGN_OR_RETURN(LineReader reader, LineReader::Open(options.input));
  ASSIGN_OR_RETURN(LineAppender output, LineAppender::Open(options.output, /*truncate=*/false));
  for (int64_t i = 0; i < earlier.lines; ++i) NextRequest(&reader);

  BatchOutcome outcome;
  outcome.requests = static_cast<int64_t>(ids.size());
  outcome.resumed = earlier.lines;
  outcome.failed = earlier.failed;
  Progress progress(terminal, "lines", outcome.requests, earlier.lines);
  Status written = OkStatus();
  RunOrdered<Line, Answer>(
      options.concurrency, [&] { return NextRequest(&reader); }, [&](Line& line) { return AnswerLine(line, method, options.retry); },
      [&](Answer answer) {
        if (answer.status.error_code() == grpc::StatusCode::UNAVAILABLE) {
          outcome.stopped = answer.status;
          return false;
        }
        written = output.Append(answer.line);
        if (!written.ok()) return false;
        ++outcome.done;
        if (!answer.status.ok()) ++outcome.failed;
        progress.Advance(!answer.status.ok());
        return true;
      });
  outcome.seconds = absl::ToDoubleSeconds(progress.elapsed());
  RETURN_IF_ERROR(written);
  return outcome;
}

}  // namespace switchyard::client
