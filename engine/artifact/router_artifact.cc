#include "engine/artifact/router_artifact.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/finite.h"
#include "engine/artifact/mapped_file.h"
#include "engine/artifact/sha256.h"
#include "engine/artifact/strict_json.h"

namespace switchyard {
namespace {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
constexpr int32_t kFormatVersion = 1;
constexpr size_t kMaxTrainingOptions = 64, kMaxTrainingText = 512;

std::string Short(const Json& v) { return v.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 120); }

// One required field of the manifest into `out`, by its JSON type.
template <typename T>
Status Field(const Json& json, const char* key, const std::string& file, T* out) {
  if (!json.contains(key)) return DataLoss("%s: \"%s\" is missing", file, key);
  const Json& v = json[key];
  bool fits;
  if constexpr (std::is_same_v<T, bool>) {
    fits = v.is_boolean();
  } else if constexpr (std::is_same_v<T, int32_t>) {
    fits = v.is_number_unsigned() && v.get<uint64_t>() <= INT32_MAX;
  } else {
    fits = v.is_string();
  }
  if (!fits) return DataLoss("%s: \"%s\" has the wrong type: %s", file, key, Short(v));
  *out = v.get<T>();
  return OkStatus();
}

Json ToJson(const RouterManifest& m) {
  Json experts = Json::array();
  for (const RouterExpertBinding& e : m.experts)
    experts.push_back({{"name", e.name}, {"generation", e.generation}, {"is_zero", e.is_zero}});
  Json json = {{"format_version", m.format_version},
               {"name", m.name},
               {"kind", m.kind},
               {"top_k", m.top_k},
               {"weight_mode", m.weight_mode},
               {"round_probabilities_bf16", m.round_probabilities_bf16},
               {"mixing", m.mixing},
               {"causal", m.causal},
               {"separable", m.separable},
               {"base_generation", m.base_generation},
               {"num_layers", m.num_layers},
               {"hidden_size", m.hidden_size},
               {"experts", experts},
               {"tensors_sha256", m.tensors_sha256},
               {"untrained", m.untrained},
               {"golden_probes", m.golden_probes}};
  if (!m.derive.empty()) json["derive"] = m.derive;
  if (!m.load_shares.empty()) json["load_shares"] = m.load_shares;
  if (!m.training.empty()) json["training"] = m.training;
  return json;
}

// Optional: an object of short texts.
Status ReadTraining(const Json& json, const std::string& file, RouterManifest* m) {
  if (!json.contains("training")) return OkStatus();
  const Json& training = json["training"];
  bool fits = training.is_object() && training.size() <= kMaxTrainingOptions;
  for (const auto& [option, value] : training.items()) {
    fits = fits && value.is_string() && option.size() <= kMaxTrainingText && value.get_ref<const std::string&>().size() <= kMaxTrainingText;
    if (!fits) break;
    m->training[option] = value.get<std::string>();
  }
  if (fits) return OkStatus();
  return DataLoss("%s: \"training\": expected an object of at most %d texts of at most %d bytes, found %s", file, kMaxTrainingOptions,
                  kMaxTrainingText, Short(training));
}

// Optional: one list a layer, one share an expert.
Status ReadLoadShares(const Json& json, const std::string& file, RouterManifest* m) {
  if (!json.contains("load_shares")) return OkStatus();
  const Json& layers = json["load_shares"];
  const auto wrong = [&] {
    return DataLoss("%s: \"load_shares\": expected %d lists of %d shares that sum to 1, found %s", file, m->num_layers, m->experts.size(),
                    Short(layers));
  };
  if (!layers.is_array() || layers.size() != static_cast<size_t>(m->num_layers)) return wrong();
  for (const Json& layer : layers) {
    if (!layer.is_array() || layer.size() != m->experts.size()) return wrong();
    std::vector<float>& shares = m->load_shares.emplace_back();
    double sum = 0;
    for (const Json& share : layer) {
      if (!share.is_number() || !(share.get<double>() >= 0 && share.get<double>() <= 1)) return wrong();
      shares.push_back(share.get<float>());
      sum += shares.back();
    }
    if (std::abs(sum - 1) > 1e-3) return wrong();
  }
  return OkStatus();
}

StatusOr<RouterManifest> ParseManifest(const std::string& text, const std::string& file) {
  RETURN_IF_ERROR(CheckStrictJson(text, file));
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return DataLoss("%s: expected a JSON object", file);
  RouterManifest m;
  RETURN_IF_ERROR(Field(json, "format_version", file, &m.format_version));
  if (m.format_version != kFormatVersion)
    return Unimplemented("%s: format_version %d, expected %d", file, m.format_version, kFormatVersion);
  RETURN_IF_ERROR(Field(json, "name", file, &m.name));
  RETURN_IF_ERROR(Field(json, "kind", file, &m.kind));
  RETURN_IF_ERROR(Field(json, "top_k", file, &m.top_k));
  RETURN_IF_ERROR(Field(json, "weight_mode", file, &m.weight_mode));
  RETURN_IF_ERROR(Field(json, "round_probabilities_bf16", file, &m.round_probabilities_bf16));
  RETURN_IF_ERROR(Field(json, "mixing", file, &m.mixing));
  RETURN_IF_ERROR(Field(json, "causal", file, &m.causal));
  RETURN_IF_ERROR(Field(json, "separable", file, &m.separable));
  if (json.contains("derive")) RETURN_IF_ERROR(Field(json, "derive", file, &m.derive));
  RETURN_IF_ERROR(Field(json, "base_generation", file, &m.base_generation));
  RETURN_IF_ERROR(Field(json, "num_layers", file, &m.num_layers));
  RETURN_IF_ERROR(Field(json, "hidden_size", file, &m.hidden_size));
  RETURN_IF_ERROR(Field(json, "tensors_sha256", file, &m.tensors_sha256));
  RETURN_IF_ERROR(Field(json, "untrained", file, &m.untrained));
  RETURN_IF_ERROR(Field(json, "golden_probes", file, &m.golden_probes));
  if (!json.contains("experts") || !json["experts"].is_array() || json["experts"].empty() || json["experts"].size() > 4096) {
    return DataLoss("%s: \"experts\" must list 1 to 4096 experts", file);
  }
  for (const Json& e : json["experts"]) {
    if (!e.is_object()) return DataLoss("%s: \"experts\" holds %s, expected an object", file, Short(e));
    RouterExpertBinding& binding = m.experts.emplace_back();
    RETURN_IF_ERROR(Field(e, "name", file, &binding.name));
    RETURN_IF_ERROR(Field(e, "generation", file, &binding.generation));
    RETURN_IF_ERROR(Field(e, "is_zero", file, &binding.is_zero));
    for (size_t i = 0; i + 1 < m.experts.size(); ++i) {
      if (m.experts[i].name == binding.name) return DataLoss("%s: expert \"%s\" is listed twice", file, binding.name.substr(0, 100));
    }
  }
  for (const auto& [key, value] : json.items()) {
    if (key != "load_shares" && key != "training" && !ToJson(m).contains(key))
      return Unimplemented("%s: \"%s\" is not known to format_version %d", file, key.substr(0, 80), kFormatVersion);
  }
  if (m.mixing != "ffn") return Unimplemented("%s: mixing \"%s\", expected \"ffn\"", file, m.mixing.substr(0, 40));
  if (!m.causal) return Unimplemented("%s: a non-causal router depends on later tokens and cannot serve", file);
  if (m.top_k < 1 || m.top_k > static_cast<int32_t>(m.experts.size())) {
    return DataLoss("%s: top_k %d, expected 1 to %d (the number of experts)", file, m.top_k, m.experts.size());
  }
  if (m.num_layers < 1 || m.num_layers > 1024 || m.hidden_size < 1 || m.hidden_size > (1 << 17)) {
    return DataLoss("%s: num_layers %d and hidden_size %d are out of range", file, m.num_layers, m.hidden_size);
  }
  RETURN_IF_ERROR(ReadLoadShares(json, file, &m));
  RETURN_IF_ERROR(ReadTraining(json, file, &m));
  return m;
}

std::string Names(const std::vector<RouterExpertBinding>& experts) {
  std::string text;
  for (const RouterExpertBinding& e : experts) text += (text.empty() ? "" : ", ") + e.name + "@" + e.generation.substr(0, 12);
  return "[" + text + "]";
}

}  // namespace

StatusOr<RouterArtifact> ReadRouterArtifact(const std::string& directory) {
  const std::string manifest_path = (fs::path(directory) / "router.json").string(),
                    tensors_path = (fs::path(directory) / "router.safetensors").string();
  RouterArtifact artifact;
  artifact.directory = directory;
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(manifest_path, 4 << 20));
  ASSIGN_OR_RETURN(artifact.manifest, ParseManifest(text, manifest_path));
  ASSIGN_OR_RETURN(artifact.tensors, SafetensorsFile::Open(tensors_path));
  ASSIGN_OR_RETURN(const std::string hash, Sha256HexOfFile(tensors_path));
  if (hash != artifact.manifest.tensors_sha256) {
    return DataLoss("%s: SHA-256 %s, the manifest expects %s", tensors_path, hash, artifact.manifest.tensors_sha256.substr(0, 64));
  }
  for (const auto& [name, view] : artifact.tensors->tensors()) {
    if (const auto at = FirstNonFinite(view))
      return DataLoss("%s: tensor \"%s\" holds NaN or infinity at element %d", tensors_path, name, *at);
  }
  artifact.generation = Sha256Hex(Sha256Hex(text) + hash);
  return artifact;
}

Status CheckRouterBinding(const RouterManifest& manifest, const std::string& base_generation,
                          const std::vector<RouterExpertBinding>& experts) {
  if (manifest.base_generation != base_generation) {
    return FailedPrecondition("router \"%s\" was made for base %s, the loaded base is %s", manifest.name,
                              manifest.base_generation.substr(0, 64), base_generation);
  }
  bool same = manifest.experts.size() == experts.size();
  for (size_t i = 0; same && i < experts.size(); ++i) {
    same = manifest.experts[i].generation == experts[i].generation && manifest.experts[i].name == experts[i].name &&
           manifest.experts[i].is_zero == experts[i].is_zero;
  }
  if (same) return OkStatus();
  return FailedPrecondition("router \"%s\" was made for experts %s, in this order; loaded are %s", manifest.name, Names(manifest.experts),
                            Names(experts));
}

Status WriteRouterArtifact(const std::string& directory, RouterManifest manifest, const std::vector<TensorView>& tensors) {
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(directory));
  const std::string tensors_path = staged.path() + "/router.safetensors";
  RETURN_IF_ERROR(WriteSafetensors(tensors_path, tensors, {{"format", "switchyard-router"}}));
  ASSIGN_OR_RETURN(manifest.tensors_sha256, Sha256HexOfFile(tensors_path));
  RETURN_IF_ERROR(WriteFileAtomically(staged.path() + "/router.json", ToJson(manifest).dump(2) + "\n"));
  return staged.Publish();
}

}  // namespace switchyard
