// Runs a fuzz target's entry point over the files named on the command line, and over every file of the directories: the seed corpus as a test.
// Without arguments: over a few inputs that every parser must stand.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

int Replay(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return 1;
}

int ReplayFile(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  int count = Replay(bytes);
  // Every file cut short is an input too: a torn file is what parsers meet most often.
  for (size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / 64) count += Replay(bytes.substr(0, length));
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  int count = 0;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      count += ReplayFile(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) count += ReplayFile(entry.path());
  }
  for (const std::string& bytes : {std::string(), std::string(1, '\0'), std::string(64, '\xff'), std::string("{}"), std::string(1000, '[')}) count += Replay(bytes);
  std::printf("%d inputs\n", count);
  return 0;
}
