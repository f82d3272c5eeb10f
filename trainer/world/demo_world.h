// A demonstration world on disk: questions that need nothing from outside and that a small model can learn.
//
//   <directory>/world.json           version, seed, operators and units, and of each domain its description, counts and the SHA-256 of its
//   files
//   <directory>/README.md            what the files are
//   <directory>/<domain>/train.jsonl, valid.jsonl, test.jsonl; chats.jsonl, training data of the format "chat", but for general
//   <directory>/chats.jsonl          everyday chats to be answered by the base: GenerateRequests in proto3 JSON
//
// Domains: formulary, statutes, wordproblems, programs and general. A line is a question of our JSONL (id, question, options, answer) with
// the further keys domain, fact, wording and, where the answer was computed, working (see WorldQuestion).
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/status.h"
#include "trainer/world/world.h"

namespace switchyard::trainer {

struct DemoWorldOptions {
  std::string directory;  // must not exist; it appears complete or not at all
  uint64_t seed = 1;
  bool small = false;  // about a fifth of the facts, for quick runs
};

// About 3,000 questions, 1 MB. The same bytes for the same seed and size on every machine. ALREADY_EXISTS when the directory is there.
Status WriteDemoWorld(const DemoWorldOptions& options);

// A world of any directory, of any origin. DATA_LOSS names the file and what is wrong: its digest, its count, or a line that is no
// question.
StatusOr<DemoWorld> ReadDemoWorld(const std::string& directory);

// ReadDemoWorld, then CheckWorld.
Status CheckDemoWorld(const std::string& directory);

// The properties of one domain that make its measurements mean something:
//   - four different options, the answer among them, each position equally often (chi-square);
//   - the right option is the longest, and the shortest, no more often than chance (4.5 standard deviations), nor among numbers the
//   smallest or
//     the largest;
//   - no question and no wording of train occurs in valid or test, none of valid in test, no question twice in a part;
//   - every fact of valid and test occurs in train;
//   - every computed answer is what computing it again gives: sums with the world's units, programs run by the interpreter.
Status CheckWorldDomain(const DemoWorld& world, const WorldDomain& domain);

// CheckWorldDomain of all five, and that formulary and statutes have facts in common, each with different answers.
Status CheckWorld(const DemoWorld& world);

}  // namespace switchyard::trainer
