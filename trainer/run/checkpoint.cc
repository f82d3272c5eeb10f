#include "trainer/run/checkpoint.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/safetensors.h"
#include "engine/tensor/compute.h"
#include "trainer/nn/tensor_views.h"

namespace switchyard::trainer {

namespace {

constexpr char kPrefix[] = "step-";

Status CopyInto(const SafetensorsFile& file, const std::string& name, at::Tensor to) {
  ASSIGN_OR_RETURN(const TensorView view, file.Get(name));
  if (view.dtype != DType::kF32 || at::IntArrayRef(view.shape) != to.sizes()) {
    return FailedPrecondition("%s: tensor %s is %s %s, the run's parameter is F32 [%s]", file.path(), name, DTypeName(view.dtype),
                              ShapeString(view.shape), ShapeString(to.sizes().vec()));
  }
  c10::AutoGradMode no_grad(false);
  to = to.detach();
  std::memcpy(to.mutable_data_ptr<float>(), view.data.data(), view.data.size());
  return OkStatus();
}

}  // namespace

std::string CheckpointStore::PathOf(int64_t step) const { return absl::StrFormat("%s/%s%09d", directory_, kPrefix, step); }

std::vector<int64_t> CheckpointStore::Steps() const {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename().string();
    int64_t step = 0;
    const char* begin = name.data() + std::strlen(kPrefix);
    if (!name.starts_with(kPrefix) || std::from_chars(begin, name.data() + name.size(), step).ptr != name.data() + name.size()) continue;
    steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

Status CheckpointStore::Save(const RunState& state, AdamW& optimizer, const std::vector<at::Tensor>& best) const {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) return FailedPrecondition("%s: cannot be created: %s", directory_, error.message());
  const std::string path = PathOf(state.step);
  std::filesystem::remove_all(path, error);
  std::vector<TensorView> tensors;
  const std::vector<Parameter>& parameters = optimizer.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    tensors.push_back(ViewOf("value." + parameters[i].name, parameters[i].value));
    tensors.push_back(ViewOf("first." + parameters[i].name, optimizer.first_moments()[i]));
    tensors.push_back(ViewOf("second." + parameters[i].name, optimizer.second_moments()[i]));
    if (!best.empty()) tensors.push_back(ViewOf("best." + parameters[i].name, best[i]));
  }
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(path));
  RETURN_IF_ERROR(WriteSafetensors(staged.path() + "/state.safetensors", tensors, {}));
  const nlohmann::ordered_json json = {{"step", state.step},           {"consumed", state.consumed},
                                       {"identity", state.identity},   {"best_loss", state.best_loss},
                                       {"best_step", state.best_step}, {"optimizer_steps", optimizer.steps()}};
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/state.json", json.dump(2) + "\n"));
  RETURN_IF_ERROR(staged.Publish());
  const std::vector<int64_t> steps = Steps();
  for (size_t i = 0; i + static_cast<size_t>(keep_) < steps.size(); ++i) std::filesystem::remove_all(PathOf(steps[i]), error);
  return OkStatus();
}

StatusOr<std::optional<RunState>> CheckpointStore::Restore(const std::string& identity, AdamW& optimizer, std::vector<at::Tensor>* best,
                                                           std::vector<std::string>* damaged) const {
  std::vector<int64_t> steps = Steps();
  std::reverse(steps.begin(), steps.end());
  Status first = OkStatus();
  for (const int64_t step : steps) {
    StatusOr<RunState> state = RestoreOne(PathOf(step), identity, optimizer, best);
    if (state.ok()) return std::optional<RunState>(*std::move(state));
    // A broken or half-gone one is no reason to lose the run while an older one is whole; one of another run is.
    if (!absl::IsDataLoss(state.status()) && !absl::IsNotFound(state.status())) return state.status();
    damaged->push_back(std::string(Message(state.status())));
    if (first.ok()) first = state.status();
  }
  RETURN_IF_ERROR(first);
  return std::optional<RunState>();
}

StatusOr<RunState> CheckpointStore::RestoreOne(const std::string& path, const std::string& identity, AdamW& optimizer,
                                               std::vector<at::Tensor>* best) const {
  std::ifstream in(path + "/state.json");
  std::stringstream text;
  text << in.rdbuf();
  const nlohmann::json json = nlohmann::json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  const auto integer = [&](const char* key) { return json.is_object() && json.contains(key) && json[key].is_number_integer(); };
  if (!integer("step") || !integer("consumed") || !integer("best_step") || !integer("optimizer_steps") || !json.contains("identity") ||
      !json["identity"].is_string() || !json.contains("best_loss") || !json["best_loss"].is_number()) {
    return DataLoss("%s/state.json is not a checkpoint's state", path);
  }
  RunState state{json["step"], json["consumed"], json["identity"], json["best_loss"], json["best_step"]};
  if (state.identity != identity) {
    return FailedPrecondition("%s belongs to a run with other options, data or base: continue that run, or start anew with --restart",
                              path);
  }
  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path + "/state.safetensors"));
  best->clear();
  for (size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const Parameter& parameter = optimizer.parameters()[i];
    RETURN_IF_ERROR(CopyInto(*file, "value." + parameter.name, parameter.value));
    RETURN_IF_ERROR(CopyInto(*file, "first." + parameter.name, optimizer.first_moments()[i]));
    RETURN_IF_ERROR(CopyInto(*file, "second." + parameter.name, optimizer.second_moments()[i]));
    if (state.best_step < 0) continue;
    best->push_back(at::empty_like(parameter.grad));
    RETURN_IF_ERROR(CopyInto(*file, "best." + parameter.name, best->back()));
  }
  optimizer.set_steps(json["optimizer_steps"]);
  return state;
}

Status CheckpointStore::RemoveAll() const {
  std::error_code error;
  std::filesystem::remove_all(directory_, error);
  return error ? FailedPrecondition("%s: cannot be removed: %s", directory_, error.message()) : OkStatus();
}

}  // namespace switchyard::trainer
