// Turns records into the examples of one Dataset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/tokenizer.h"
#include "trainer/data/dataset_loader.h"

namespace switchyard::trainer {

// Thread-compatible. Borrows options and tokenizer.
class DatasetBuilder {
 public:
  DatasetBuilder(const DataOptions& options, const Tokenizer& tokenizer) : options_(options), tokenizer_(tokenizer) {}

  // The index of the domain, new or known.
  int32_t Domain(const std::string& name);
  // One example, or two with Target::kBoth; a record that makes none is listed as bad. Not OK only for what is wrong with every record.
  Status Add(const Record& record, int32_t domain);
  void AddBad(BadLine bad) { dataset_.bad.push_back(std::move(bad)); }

  // With the fingerprint. Call once.
  Dataset Finish();

 private:
  Status AddChat(const Record& record, int32_t domain);
  // Lists the record as bad when the tokens are too many.
  void AddTokens(const Record& record, std::vector<int32_t> context, const std::vector<int32_t>& answer, int32_t domain);
  Status AddExample(const Record& record, const std::string& prompt, const std::string& answer, bool append_eos, int32_t domain);

  const DataOptions& options_;
  const Tokenizer& tokenizer_;
  Dataset dataset_;
};

// What a record asks: the same for two records that differ in the answer only.
std::string RecordKey(const Record& record);

}  // namespace switchyard::trainer
