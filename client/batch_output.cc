#include "client/batch_output.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "client/proto_json.h"
#include "engine/mcq/json_record.h"
#include "engine/mcq/lines.h"
#include "nlohmann/json.hpp"

namespace switchyard::client {
namespace {

// Is this line a response of the method, or an error?
Status CheckLine(const std::string& line, const BatchMethod& method, bool* failed) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(line));
  const auto error = json.find("error");
  *failed = error != json.end() && error->is_object();
  if (*failed) return OkStatus();
  const std::unique_ptr<google::protobuf::Message> response(method.response_prototype->New());
  return FromJson(line, response.get());
}

}  // namespace

std::string LineId(const std::string& line) {
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return "";
  const auto id = json.find("id");
  return id != json.end() && id->is_string() ? id->get<std::string>() : "";
}

std::string ErrorLine(const std::string& id, const grpc::Status& status) {
  const nlohmann::ordered_json json = {{"id", id},
                                       {"error", {{"code", static_cast<int>(status.error_code())}, {"message", status.error_message()}}}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

StatusOr<EarlierLines> CheckEarlierOutput(const std::string& path, const std::vector<std::string>& request_ids, const BatchMethod& method) {
  EarlierLines earlier;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return earlier;
  ASSIGN_OR_RETURN(LineReader reader, LineReader::Open(path, size_t{1} << 30));
  uintmax_t whole_bytes = 0;
  while (const std::optional<Line> line = reader.Next()) {
    if (!line->complete) break;
    const auto index = static_cast<size_t>(line->number - 1);
    if (index >= request_ids.size()) {
      return FailedPrecondition("%s has more lines than the input has requests (%d): it belongs to another input. Choose another --output.",
                                path, request_ids.size());
    }
    bool failed = false;
    if (const Status status = CheckLine(line->text, method, &failed); !status.ok()) {
      return FailedPrecondition("%s:%d: %s. Repair the file, remove it, or choose another --output.", path, line->number, Message(status));
    }
    if (const std::string id = LineId(line->text); id != request_ids[index]) {
      return FailedPrecondition(
          "%s:%d: expected the id \"%s\" of the request, found \"%s\": it belongs to another input. Choose another --output.", path,
          line->number, request_ids[index], id);
    }
    ++earlier.lines;
    if (failed) ++earlier.failed;
    whole_bytes += line->bytes;
  }
  if (std::filesystem::file_size(path, error) > whole_bytes && !error) std::filesystem::resize_file(path, whole_bytes, error);
  if (error) return DataLoss("%s: the torn last line cannot be cut off (%s)", path, error.message());
  return earlier;
}

StatusOr<LineAppender> LineAppender::Open(const std::string& path, bool truncate) {
  std::FILE* file = std::fopen(path.c_str(), truncate ? "wb" : "ab");
  if (file == nullptr) return InvalidArgument("%s: cannot be written (%s)", path, std::strerror(errno));
  return LineAppender(path, file);
}

Status LineAppender::Append(const std::string& line) {
  const std::string whole = line + "\n";
  if (std::fwrite(whole.data(), 1, whole.size(), file_.get()) != whole.size() || std::fflush(file_.get()) != 0) {
    return DataLoss("%s: writing failed (%s)", path_, std::strerror(errno));
  }
  return OkStatus();
}

}  // namespace switchyard::client
