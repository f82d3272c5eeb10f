#include "trainer/data/dataset_loader.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "engine/artifact/seeded.h"
#include "trainer/data/dataset_builder.h"
#include "trainer/data/seeded_order.h"

namespace switchyard::trainer {
namespace {

struct LoadedSource {
  std::string domain;
  std::vector<Record> records;
};

Status CheckOptions(const DataOptions& options) {
  if (options.sources.empty()) return InvalidArgument("data: expected at least one source, found none");
  if (options.max_tokens < 2) return InvalidArgument("max_tokens: expected at least 2, found %d", options.max_tokens);
  if (options.max_records < 0) return InvalidArgument("max_records: expected 0 (all) or more, found %d", options.max_records);
  for (const DataSource& source : options.sources) {
    if (source.domain.empty()) return InvalidArgument("data: a source without a domain's name");
    if (source.paths.empty()) return InvalidArgument("data: domain %s: no files are named", source.domain);
  }
  return OkStatus();
}

void LimitRecords(const DataOptions& options, const std::string& domain, std::vector<Record>* records) {
  const auto size = static_cast<int64_t>(records->size());
  if (options.max_records == 0 || size <= options.max_records) return;
  if (options.sample_records) {
    std::vector<int64_t> kept = SeededOrder(size, options.seed, "sample " + domain);
    kept.resize(static_cast<size_t>(options.max_records));
    std::sort(kept.begin(), kept.end());
    std::vector<Record> sample;
    for (const int64_t index : kept) sample.push_back(std::move((*records)[index]));
    *records = std::move(sample);
  } else {
    records->resize(static_cast<size_t>(options.max_records));
  }
}

// Reads every source; what cannot be read goes to `bad`.
StatusOr<std::vector<LoadedSource>> ReadSources(const DataOptions& options, DatasetBuilder* bad) {
  RETURN_IF_ERROR(CheckOptions(options));
  std::vector<LoadedSource> sources;
  for (const DataSource& source : options.sources) {
    StatusOr<RecordSet> set = ReadRecords(source);
    if (!set.ok()) return Annotate(set.status(), "data: domain " + source.domain);
    if (set->records.empty()) {
      std::string first;
      if (!set->bad.empty()) {
        const BadLine& bad_line = set->bad[0];
        first = absl::StrFormat("; the first of %d bad ones: %s:%d: %s", set->bad.size(), bad_line.file, bad_line.line, bad_line.reason);
      }
      return InvalidArgument("data: domain %s: no record that can be used in %s%s", source.domain, source.paths[0], first);
    }
    for (BadLine& line : set->bad) bad->AddBad(std::move(line));
    LimitRecords(options, source.domain, &set->records);
    sources.push_back({source.domain, std::move(set->records)});
  }
  return sources;
}

// Which of a domain's prompts are held out: those with the smallest seeded hash.
using HeldOut = std::set<std::string>;
StatusOr<HeldOut> ChooseHeldOut(const std::set<std::string>& prompts, const std::string& domain, double fraction, uint64_t seed) {
  if (prompts.size() < 2) return InvalidArgument("data: domain %s: one prompt cannot be split into training and validation", domain);
  std::vector<std::pair<uint64_t, const std::string*>> ranked;
  for (const std::string& prompt : prompts) ranked.emplace_back(SeededRandom(seed, "valid " + prompt).Next(), &prompt);
  std::sort(ranked.begin(), ranked.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first < b.first : *a.second < *b.second; });
  const auto wanted = static_cast<size_t>(std::llround(fraction * static_cast<double>(prompts.size())));
  const size_t count = std::clamp<size_t>(wanted, 1, prompts.size() - 1);
  HeldOut held_out;
  for (size_t i = 0; i < count; ++i) held_out.insert(*ranked[i].second);
  return held_out;
}

StatusOr<std::map<std::string, HeldOut>> ChooseHeldOut(const std::vector<LoadedSource>& sources, double fraction, uint64_t seed) {
  std::map<std::string, std::set<std::string>> prompts;
  for (const LoadedSource& source : sources) {
    for (const Record& record : source.records) prompts[source.domain].insert(RecordKey(record));
  }
  std::map<std::string, HeldOut> held_out;
  for (const auto& [domain, of_domain] : prompts) {
    ASSIGN_OR_RETURN(held_out[domain], ChooseHeldOut(of_domain, domain, fraction, seed));
  }
  return held_out;
}

StatusOr<Dataset> Finished(DatasetBuilder* builder, std::string_view part) {
  Dataset dataset = builder->Finish();
  if (!dataset.examples.empty()) return dataset;
  return InvalidArgument("data: no example is left for %s:\n%s", part, DescribeDataset(dataset, 3));
}

}  // namespace

StatusOr<Target> ParseTarget(std::string_view name) {
  if (name == "text") return Target::kText;
  if (name == "letter") return Target::kLetter;
  if (name == "both") return Target::kBoth;
  if (name == "dense2moe") return Target::kDense2Moe;
  return InvalidArgument("target: expected text, letter, both or dense2moe, found \"%s\"", name);
}

StatusOr<Dataset> LoadDataset(const DataOptions& options, const Tokenizer& tokenizer) {
  DatasetBuilder builder(options, tokenizer);
  ASSIGN_OR_RETURN(const std::vector<LoadedSource> sources, ReadSources(options, &builder));
  for (const LoadedSource& source : sources) {
    const int32_t domain = builder.Domain(source.domain);
    for (const Record& record : source.records) RETURN_IF_ERROR(builder.Add(record, domain));
  }
  return Finished(&builder, "training");
}

StatusOr<TrainAndValid> LoadTrainAndValid(const DataOptions& options, double valid_fraction, const Tokenizer& tokenizer) {
  if (!(valid_fraction > 0 && valid_fraction < 1))
    return InvalidArgument("valid_fraction: expected between 0 and 1, found %g", valid_fraction);
  DatasetBuilder train(options, tokenizer), valid(options, tokenizer);
  ASSIGN_OR_RETURN(const std::vector<LoadedSource> sources, ReadSources(options, &train));
  ASSIGN_OR_RETURN(const auto held_out, ChooseHeldOut(sources, valid_fraction, options.seed));
  for (const LoadedSource& source : sources) {
    // Both know every domain by the same index, even where one has no example of it.
    const int32_t domain = train.Domain(source.domain);
    valid.Domain(source.domain);
    for (const Record& record : source.records) {
      DatasetBuilder& part = held_out.at(source.domain).contains(RecordKey(record)) ? valid : train;
      RETURN_IF_ERROR(part.Add(record, domain));
    }
  }
  TrainAndValid parts;
  ASSIGN_OR_RETURN(parts.train, Finished(&train, "training"));
  ASSIGN_OR_RETURN(parts.valid, Finished(&valid, "validation"));
  return parts;
}

std::string DescribeDataset(const Dataset& dataset, int shown) {
  std::vector<int64_t> counts(dataset.domains.size()), tokens(dataset.domains.size());
  for (const Example& example : dataset.examples) {
    ++counts[example.domain];
    tokens[example.domain] += static_cast<int64_t>(example.tokens.size());
  }
  std::string text;
  for (size_t i = 0; i < counts.size(); ++i) {
    text += absl::StrFormat("%s: %d examples, %d tokens\n", dataset.domains[i], counts[i], tokens[i]);
  }
  return text + DescribeLeftOut(dataset, shown);
}

std::string DescribeLeftOut(const Dataset& dataset, int shown) {
  if (dataset.bad.empty()) return "";
  const auto bad = static_cast<int64_t>(dataset.bad.size());
  std::string text = absl::StrFormat("left out: %d too long, %d that cannot be used\n", dataset.over_long, bad - dataset.over_long);
  for (int64_t i = 0; i < std::min<int64_t>(bad, shown); ++i) {
    text += absl::StrFormat("  %s:%d: %s\n", dataset.bad[i].file, dataset.bad[i].line, dataset.bad[i].reason);
  }
  if (bad > shown) text += absl::StrFormat("  and %d more\n", bad - shown);
  return text;
}

}  // namespace switchyard::trainer
