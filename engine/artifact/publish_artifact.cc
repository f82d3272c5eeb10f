#include "engine/artifact/publish_artifact.h"

#include <filesystem>
#include <system_error>

#include "engine/artifact/atomic_file.h"
#include "engine/artifact/peft_config.h"
#include "engine/artifact/router_artifact.h"
#include "engine/artifact/safetensors.h"

namespace switchyard {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxConfigBytes = 16 << 20;

Status CopyFiles(const fs::path& source, const fs::path& to, PublishedArtifact* published) {
  std::error_code error;
  fs::directory_iterator entry(source, error);
  if (error) return NotFound("%s: cannot be listed: %s", source.string(), error.message());
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (entry->is_directory()) continue;
    const std::string path = entry->path().string();
    if (!entry->is_regular_file()) return InvalidArgument("%s: expected a file, found a pipe, a device or a dangling link", path);
    fs::copy_file(entry->path(), to / entry->path().filename(), error);
    if (error) return ResourceExhausted("%s: cannot be copied: %s", path, error.message());
    ++published->files;
    published->bytes += static_cast<int64_t>(fs::file_size(to / entry->path().filename(), error));
  }
  return error ? Internal("%s: cannot be listed: %s", source.string(), error.message()) : OkStatus();
}

// Of the copy, so that a source still being written is found out.
Status Verify(const fs::path& copy, const std::string& source, PublishedArtifact* published) {
  if (fs::exists(copy / "router.json")) {
    ASSIGN_OR_RETURN(const RouterArtifact router, ReadRouterArtifact(copy.string()));
    published->kind = "router";
    published->generation = router.generation;
    return OkStatus();
  }
  const std::string config = (copy / "adapter_config.json").string();
  if (!fs::exists(config)) {
    return InvalidArgument("%s: expected an expert (adapter_config.json) or a router (router.json), found neither", source);
  }
  ASSIGN_OR_RETURN(const std::string json, ReadWholeFile(*FileSystem::Real(), config, kMaxConfigBytes));
  RETURN_IF_ERROR(PeftConfig::Parse(json, source + "/adapter_config.json").status());
  RETURN_IF_ERROR(SafetensorsFile::Open((copy / "adapter_model.safetensors").string()).status());
  published->kind = "expert";
  return OkStatus();
}

}  // namespace

StatusOr<PublishedArtifact> PublishArtifact(const std::string& source, const std::string& destination) {
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(destination));
  PublishedArtifact published;
  RETURN_IF_ERROR(CopyFiles(source, staged.path(), &published));
  RETURN_IF_ERROR(Verify(staged.path(), source, &published));
  RETURN_IF_ERROR(staged.Publish());
  return published;
}

}  // namespace switchyard
