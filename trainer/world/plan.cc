// The terms of a world, and the helpers its generators share.
#include <set>

#include "trainer/world/world.h"

namespace switchyard::trainer {
namespace {

// Words with a sense of their own in medicine or law next to words with none: in this world each is a remedy, a doctrine, a unit or an
// operator.
const char* const kSharedTerms[] = {"tort", "dose",  "vex",   "brief", "charge", "writ",  "balm", "lien", "glim", "zorp",
                                    "marn", "quell", "tobin", "plea",  "tonic",  "drabe", "felk", "sorv", "lunt", "brisk"};

std::string InventTerm(SeededRandom* random) {
  static const std::string kOnsets = "bdfgklmnprstvz", kVowels = "aeiou", kCodas = "lmnrsx";
  std::string term;
  for (int syllable = 0; syllable < 2; ++syllable) {
    term += kOnsets[Below(kOnsets.size(), random)];
    term += kVowels[Below(kVowels.size(), random)];
  }
  return term + kCodas[Below(kCodas.size(), random)];
}

}  // namespace

uint64_t Below(uint64_t bound, SeededRandom* random) {
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;  // the values from here on would favour the small remainders
  uint64_t value = random->Next();
  while (value >= limit) value = random->Next();
  return value % bound;
}

std::vector<std::string> DealEvenly(const std::vector<std::string>& values, size_t count, SeededRandom* random) {
  std::vector<std::string> dealt;
  while (dealt.size() < count) {
    std::vector<std::string> round = values;
    Shuffle(&round, random);
    for (size_t i = 0; i < round.size() && dealt.size() < count; ++i) dealt.push_back(round[i]);
  }
  Shuffle(&dealt, random);
  return dealt;
}

std::string Fill(std::string form, const std::map<std::string, std::string>& values) {
  for (const auto& [name, value] : values) {
    const std::string mark = "{" + name + "}";
    for (size_t at = form.find(mark); at != std::string::npos; at = form.find(mark, at + value.size()))
      form.replace(at, mark.size(), value);
  }
  return form;
}

void Arrange(std::vector<WorldQuestion>* questions, SeededRandom* random) {
  Shuffle(questions, random);
  std::vector<int> positions;
  for (size_t i = 0; i < questions->size(); ++i) positions.push_back(static_cast<int>(i % kWorldOptions));
  Shuffle(&positions, random);
  for (size_t i = 0; i < questions->size(); ++i) {
    WorldQuestion& question = (*questions)[i];
    std::vector<std::string> others(question.options.begin() + 1, question.options.end());
    Shuffle(&others, random);
    others.insert(others.begin() + positions[i], question.options[0]);
    question.options = std::move(others);
    question.answer = positions[i];
  }
}

WorldPlan PlanWorld(uint64_t seed, bool small) {
  SeededRandom random(seed, "terms");
  WorldPlan plan{seed, small, {std::begin(kSharedTerms), std::end(kSharedTerms)}, {}, {}};
  Shuffle(&plan.shared_terms, &random);
  std::set<std::string> taken(plan.shared_terms.begin(), plan.shared_terms.end());
  for (std::vector<std::string>* terms : {&plan.formulary_terms, &plan.statutes_terms}) {
    while (terms->size() < (small ? 2 : 10)) {
      if (std::string term = InventTerm(&random); taken.insert(term).second) terms->push_back(term);
    }
  }
  return plan;
}

DemoWorld MakeDemoWorld(uint64_t seed, bool small) {
  const WorldPlan plan = PlanWorld(seed, small);
  DemoWorld world;
  world.domains.resize(2);
  MakeFactDomains(plan, &world.domains[0], &world.domains[1]);
  world.domains.push_back(MakeWordProblems(plan, &world.units));
  world.domains.push_back(MakePrograms(plan, &world.operators));
  world.domains.push_back(MakeGeneral(plan));
  return world;
}

}  // namespace switchyard::trainer
