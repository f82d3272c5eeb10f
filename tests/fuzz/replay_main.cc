// Runs a fuzz target's entry point over its seed corpus, as an ordinary test: every file whole, cut short at many places, and under a fixed
// number of seeded mutations (bits flipped, bytes overwritten, pieces doubled, left out, or taken from another file). Same inputs every
// run.
//   TARGET_fuzz FILE-OR-DIRECTORY ...
// Fails when there is no file at all. What a target finds ends the process, and the input that did it is kept and named (see Keep).
#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kMutationsPerFile = 1500;
constexpr size_t kCutsPerFile = 64;

int inputs = 0;
std::string current;  // the input being tried

// Writes the input that ended the process, so that it can join the corpus. Not strictly signal-safe; the process is lost anyway.
void Keep(int signal) {
  std::signal(signal, SIG_DFL);
  const auto path = std::filesystem::temp_directory_path() / "fuzz_replay_finding";
  std::ofstream(path, std::ios::binary).write(current.data(), static_cast<std::streamsize>(current.size()));
  std::fprintf(stderr, "input %d ended the process; kept as %s\n", inputs, path.c_str());
  std::raise(signal);
}

void Try(std::string bytes) {
  current = std::move(bytes);
  ++inputs;
  // A copy of exactly this size on the heap: the address sanitizer sees a read past its end.
  const std::vector<uint8_t> exact(current.begin(), current.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void CutShort(const std::string& bytes) {
  // A torn file is what parsers meet most often.
  for (size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / kCutsPerFile) Try(bytes.substr(0, length));
}

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& corpus) : corpus_(corpus), random_(1) {}

  std::string Mutate(std::string bytes) {
    const size_t rounds = 1 + Below(3);
    for (size_t i = 0; i < rounds; ++i) Once(&bytes);
    return bytes;
  }

 private:
  // The standard fixes the engine's numbers but not what distributions make of them, so no distribution.
  size_t Below(size_t end) { return end == 0 ? 0 : random_() % end; }

  void Once(std::string* bytes) {
    static constexpr char kTelling[] = {'\0', '\x01', '\x7f', '\x80', '\xff', '"', '\\', '{', '}', '[', ']', ',', '\n', '-', '9', '%'};
    const size_t at = Below(bytes->size()), count = Below(bytes->size() - at) % 32;
    switch (Below(6)) {
      case 0:
        if (!bytes->empty()) (*bytes)[at] = static_cast<char>((*bytes)[at] ^ (1 << Below(8)));
        break;
      case 1:
        if (!bytes->empty()) (*bytes)[at] = kTelling[Below(sizeof(kTelling))];
        break;
      case 2:
        bytes->erase(at, count);
        break;
      case 3:
        bytes->insert(at, bytes->substr(at, count));
        break;
      case 4:
        bytes->insert(at, std::string(1 + Below(9), kTelling[Below(sizeof(kTelling))]));
        break;
      default: {
        const std::string& other = corpus_[Below(corpus_.size())];
        const size_t from = Below(other.size());
        bytes->replace(at, count, other.substr(from, Below(64)));
      }
    }
  }

  const std::vector<std::string>& corpus_;
  std::mt19937_64 random_;
};

void ReadFile(const std::filesystem::path& path, std::vector<std::string>* corpus) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
    std::exit(1);
  }
  corpus->emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
}

std::vector<std::string> ReadCorpus(int argc, char** argv) {
  std::vector<std::filesystem::path> paths;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      paths.emplace_back(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // a directory's own order is not the same everywhere
  std::vector<std::string> corpus;
  for (const auto& path : paths) ReadFile(path, &corpus);
  return corpus;
}

}  // namespace

int main(int argc, char** argv) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS, SIGILL}) std::signal(signal, Keep);
  const std::vector<std::string> corpus = ReadCorpus(argc, argv);
  if (corpus.empty()) {
    std::fprintf(stderr, "no corpus file: expected files, or directories with files, as arguments\n");
    return 1;
  }
  for (const std::string& bytes :
       {std::string(), std::string(1, '\0'), std::string(64, '\xff'), std::string("{}"), std::string(1000, '[')}) {
    Try(bytes);
  }
  Mutator mutator(corpus);
  for (const std::string& bytes : corpus) {
    Try(bytes);
    CutShort(bytes);
    for (int i = 0; i < kMutationsPerFile; ++i) Try(mutator.Mutate(bytes));
  }
  std::printf("%zu corpus files, %d inputs\n", corpus.size(), inputs);
  return 0;
}
