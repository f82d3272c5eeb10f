// Everything LoadRunner does, in order: base, experts, router, identity, KV pool.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>
#include <utility>

#include "engine/artifact/model_config.h"
#include "engine/artifact/router_artifact.h"
#include "engine/artifact/safetensors.h"
#include "engine/runner/runner_factory.h"
#include "engine/runner/torch_snapshot_builder.h"

namespace switchyard {

namespace {

StatusOr<Backend> ParseBackend(const std::string& name) {
  if (name == "auto" || name == "fast") return Backend::kFast;
  if (name == "reference") return Backend::kReference;
  return InvalidArgument("backend: expected auto, fast or reference, found %s", name);
}

StatusOr<MixtureAlgorithm> ParseMixture(const std::string& name, Backend backend) {
  if (name == "single_down") return MixtureAlgorithm::kSingleDown;
  if (name != "mixlora" && name != "naive") return InvalidArgument("mixture: expected single_down, mixlora or naive, found %s", name);
  if (backend == Backend::kReference) return InvalidArgument("mixture %s is a choice of the fast backend", name);
  return name == "mixlora" ? MixtureAlgorithm::kMixLora : MixtureAlgorithm::kNaive;
}

// "auto" follows config.json, and the embedding where config.json is silent.
StatusOr<at::ScalarType> ChooseDtype(const std::string& asked, const ModelConfig& config, const SafetensorsSet& tensors) {
  if (asked == "f32") return at::kFloat;
  if (asked == "bf16") return at::kBFloat16;
  if (asked != "auto") return InvalidArgument("dtype: expected auto, f32 or bf16, found %s", asked);
  if (!config.dtype.empty()) return config.dtype == "float32" ? at::kFloat : at::kBFloat16;
  ASSIGN_OR_RETURN(const TensorView embedding, tensors.Get("model.embed_tokens.weight"));
  return embedding.dtype == DType::kF32 ? at::kFloat : at::kBFloat16;
}

int64_t PhysicalMemoryBytes() { return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE); }

Status CheckOptions(const RunnerOptions& options) {
  if (options.kv_block_tokens < 1) return InvalidArgument("kv_block_tokens: expected at least 1, found %d", options.kv_block_tokens);
  if (options.kv_bytes < 1) return InvalidArgument("kv_bytes: expected at least 1, found %d", options.kv_bytes);
  if (options.threads < 0 || options.threads > 1024) return InvalidArgument("threads: expected 0 to 1024, found %d", options.threads);
  constexpr size_t kMaxExperts = 4096;
  if (options.experts.size() > kMaxExperts)
    return InvalidArgument("experts: expected at most %d, found %d", kMaxExperts, options.experts.size());
  std::set<std::string> names;
  int zeros = 0;
  for (const RunnerOptions::Expert& expert : options.experts) {
    if (expert.name.empty()) return InvalidArgument("an expert has no name (directory %s)", expert.directory);
    if (!names.insert(expert.name).second) return InvalidArgument("two experts are named %s", expert.name);
    if (expert.directory.empty() && ++zeros > 1) return InvalidArgument("expert %s is a second zero expert (no directory)", expert.name);
  }
  return OkStatus();
}

// The name people know the base by: its directory's.
std::string BaseName(const std::string& directory) {
  const std::filesystem::path path = std::filesystem::path(directory).lexically_normal();
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

// One load; its parts become the runner's at the end, so an error leaves nothing behind.
class RunnerLoader {
 public:
  explicit RunnerLoader(const RunnerOptions& options) : options_(options) {}

  StatusOr<LoadedRunner> Load() {
    const auto start = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(CheckOptions(options_));
    RETURN_IF_ERROR(LoadBase());
    RETURN_IF_ERROR(LoadParts());
    auto snapshot = builder_->Build(plan_);
    if (!snapshot.ok()) return Annotate(snapshot.status(), options_.router_directory);
    ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner, MakeRunner(*std::move(snapshot)));
    report_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return LoadedRunner{std::move(runner), std::move(builder_), std::move(plan_), std::move(report_)};
  }

 private:
  Status LoadBase() {
    ASSIGN_OR_RETURN(const Backend backend, ParseBackend(options_.backend));
    ASSIGN_OR_RETURN(algorithm_, ParseMixture(options_.mixture, backend));
    ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(options_.base_directory));
    ASSIGN_OR_RETURN(const auto tensors, SafetensorsSet::OpenModelDirectory(options_.base_directory));
    ASSIGN_OR_RETURN(const at::ScalarType dtype, ChooseDtype(options_.dtype, config, *tensors));
    const int threads = options_.threads > 0 ? options_.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    base_ = std::make_shared<ResidentBase>();
    if (backend == Backend::kFast)
      base_->pool = std::make_unique<kernels::ThreadPool>(threads);
    else
      at::set_num_threads(threads);
    base_->compute = {backend, dtype, base_->pool.get()};
    ASSIGN_OR_RETURN(base_->model, LoadBaseModel(config, *tensors, base_->compute, PhysicalMemoryBytes() - options_.kv_bytes));
    ASSIGN_OR_RETURN(about_base_.base_generation, BaseFingerprint(options_.base_directory));
    report_.base_dtype = dtype == at::kFloat ? "f32" : "bf16";
    report_.base_bytes = base_->model->bytes;
    report_.isa = backend == Backend::kFast ? kernels::IsaName(kernels::CurrentIsa()) : "ATen";
    about_base_.base_name = BaseName(options_.base_directory);
    about_base_.num_layers = config.num_layers;
    about_base_.hidden_size = config.hidden_size;
    about_base_.vocab_size = config.vocab_size;
    about_base_.max_positions = config.max_positions;
    about_base_.bos_token = config.bos_token_id;
    about_base_.eos_tokens = config.eos_token_ids;
    return OkStatus();
  }

  Status LoadParts() {
    builder_ = std::make_unique<TorchSnapshotBuilder>(base_, about_base_, TorchSnapshotBuilder::Options{options_.allow_attention_lora});
    for (const RunnerOptions::Expert& expert : options_.experts) {
      auto part = builder_->LoadExpert(expert.directory);
      if (!part.ok()) return Annotate(part.status(), absl::StrFormat("expert %s", expert.name));
      const ExpertInfo& info = (*part)->info();
      report_.expert_bytes += info.bytes;
      report_.untrained |= info.untrained;
      for (const std::string& note : info.notes) report_.notes.push_back(absl::StrFormat("expert %s: %s", expert.name, note));
      plan_.experts.push_back({expert.name, *std::move(part)});
    }
    if (options_.router_directory.empty()) return OkStatus();
    ASSIGN_OR_RETURN(plan_.router, builder_->LoadRouter(options_.router_directory));
    const RouterInfo& info = plan_.router->info();
    report_.router_bytes = info.bytes;
    report_.untrained |= info.untrained;
    for (const std::string& note : info.notes) report_.notes.push_back(absl::StrFormat("router %s: %s", info.name, note));
    return OkStatus();
  }

  StatusOr<std::unique_ptr<ModelRunner>> MakeRunner(std::shared_ptr<const Snapshot> snapshot) {
    const at::ScalarType dtype = base_->compute.weight_dtype;
    KvGeometry geometry;
    geometry.block_tokens = options_.kv_block_tokens;
    geometry.bytes_per_token = KvPool::BytesPerToken(base_->model->config, dtype);
    const int64_t blocks = options_.kv_bytes / (geometry.bytes_per_token * geometry.block_tokens);
    if (blocks < 1) {
      return ResourceExhausted("kv_bytes: one block of %d tokens needs %d bytes, the budget is %d", geometry.block_tokens,
                               geometry.bytes_per_token * geometry.block_tokens, options_.kv_bytes);
    }
    // Slots are int32 throughout the runtime.
    geometry.num_blocks = static_cast<int32_t>(std::min<int64_t>(blocks, INT32_MAX / geometry.block_tokens));
    const int64_t slots = int64_t{geometry.num_blocks} * geometry.block_tokens;
    ASSIGN_OR_RETURN(KvPool kv, KvPool::Create(base_->model->config, dtype, slots));
    report_.kv_bytes = slots * geometry.bytes_per_token;
    return std::make_unique<TorchModelRunner>(base_, std::move(snapshot), std::move(kv), geometry, algorithm_);
  }

  const RunnerOptions& options_;
  MixtureAlgorithm algorithm_ = MixtureAlgorithm::kSingleDown;
  std::shared_ptr<ResidentBase> base_;
  SnapshotInfo about_base_;
  std::unique_ptr<TorchSnapshotBuilder> builder_;
  SnapshotPlan plan_;
  LoadReport report_;
};

}  // namespace

StatusOr<LoadedRunner> LoadRunner(const RunnerOptions& options) {
  try {
    const c10::InferenceMode guard;
    return RunnerLoader(options).Load();
  } catch (const c10::Error& error) {
    return Internal("loading %s: LibTorch: %s", options.base_directory, error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("loading %s: out of memory", options.base_directory);
  } catch (const std::exception& error) {
    return Internal("loading %s: %s", options.base_directory, error.what());
  }
}

}  // namespace switchyard
