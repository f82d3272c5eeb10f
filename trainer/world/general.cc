// Everyday facts that a base model knows already, so that an expert of another domain can only hurt here.
#include <algorithm>
#include <set>

#include "trainer/world/general_tables.h"
#include "trainer/world/world.h"

namespace switchyard::trainer {
namespace {

using Facts = std::vector<std::pair<std::string, std::string>>;

// As many facts as a question has options, each with an answer of its own.
Facts Few(Facts facts, SeededRandom* random) {
  Shuffle(&facts, random);
  Facts few;
  for (const auto& fact : facts) {
    const bool known = std::any_of(few.begin(), few.end(), [&](const auto& other) { return other.second == fact.second; });
    if (!known && few.size() < kWorldOptions) few.push_back(fact);
  }
  return few;
}

class Asker {
 public:
  Asker(const GeneralTable& table, Facts facts, SeededRandom* random) : table_(table), facts_(std::move(facts)), random_(random) {
    for (const auto& fact : facts_) answers_.insert(fact.second);
  }
  size_t size() const { return facts_.size(); }

  WorldQuestion Ask(size_t fact, const std::string& form, const std::string& wording) {
    const auto& [term, answer] = facts_[fact];
    WorldQuestion question{table_.name + "." + term, table_.name + "/" + wording, Fill(form, {{"term", term}}), {answer}, 0, ""};
    std::vector<std::string> others(answers_.begin(), answers_.end());
    std::erase(others, answer);
    Shuffle(&others, random_);
    question.options.insert(question.options.end(), others.begin(), others.begin() + kWorldOptions - 1);
    return question;
  }

 private:
  const GeneralTable& table_;
  const Facts facts_;
  std::set<std::string> answers_;
  SeededRandom* random_;
};

}  // namespace

WorldDomain MakeGeneral(const WorldPlan& plan) {
  WorldDomain domain{"general", "Everyday facts that the base model knows.", {}, {}, {}};
  SeededRandom random(plan.seed, "general");
  for (const GeneralTable& table : GeneralTables()) {
    Asker asker(table, plan.small ? Few(table.facts, &random) : table.facts, &random);
    for (size_t fact = 0; fact < asker.size(); ++fact) {
      for (size_t f = 0; f < table.train_forms.size(); ++f) {
        domain.train.push_back(asker.Ask(fact, table.train_forms[f], "train-" + std::to_string(f + 1)));
      }
      if (fact % 2 == 0) domain.valid.push_back(asker.Ask(fact, table.valid_form, "valid"));
      domain.test.push_back(asker.Ask(fact, table.test_form, "test"));
    }
  }
  for (auto* part : {&domain.train, &domain.valid, &domain.test}) Arrange(part, &random);
  return domain;
}

}  // namespace switchyard::trainer
