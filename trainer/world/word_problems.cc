// Word problems in invented units: what a unit holds must be known (12 facts), the rest is a product with 1 to 3 and a small sum.
//
// Train, valid and test share the units; the pair of (how many units, how many more or fewer) that a test question asks about never occurs
// with its unit in train, nor does its form of words.
#include <algorithm>
#include <array>
#include <set>

#include "absl/strings/str_cat.h"
#include "trainer/world/demo_world.h"
#include "trainer/world/world.h"

namespace switchyard::trainer {
namespace {

const char* const kPeople[] = {"Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jill", "Kim", "Leo"};
const char* const kThings[] = {"eggs", "nails", "pears", "cards", "coins", "seeds", "beads", "shells", "plums", "pens"};

// A form of each part for no change, more and fewer.
struct Form {
  const char* name;
  std::array<const char*, 3> text;
};
const Form kTrainForms[] = {
    {"train-1",
     {"{who} buys {n} {unit} of {what}. How many {what} is that?",
      "{who} buys {n} {unit} of {what} and finds {k} more. How many {what} is that?",
      "{who} buys {n} {unit} of {what} and loses {k}. How many {what} is that?"}},
    {"train-2",
     {"There are {n} {unit} of {what} on the table. How many {what} are there?",
      "There are {n} {unit} of {what} on the table, and {k} beside it. How many {what} are there?",
      "There were {n} {unit} of {what} on the table, and {k} fell off. How many {what} are there?"}},
    {"train-3",
     {"How many {what} are in {n} {unit} of {what}?", "How many {what} are in {n} {unit} of {what} and {k} {what} more?",
      "How many {what} are in {n} {unit} of {what} with {k} taken out?"}}};
const Form kValidForm = {"valid",
                         {"{who} carries home {n} {unit} of {what}. How many {what} does {who} carry?",
                          "{who} carries home {n} {unit} of {what} plus {k}. How many {what} does {who} carry?",
                          "{who} carries home {n} {unit} of {what} less {k}. How many {what} does {who} carry?"}};
const Form kTestForm = {"test",
                        {"{who} has {n} {unit} of {what}. How many {what} does {who} have?",
                         "{who} has {n} {unit} of {what} and gets {k} more. How many {what} does {who} have?",
                         "{who} has {n} {unit} of {what} and gives away {k}. How many {what} does {who} have?"}};

constexpr int kMaxDeals = 100;

struct Sum {
  int units, change;
};

// Three wrong numbers around the right one, which is at least 3: rank of them below it, that the caller can make it smallest and largest as
// often as chance.
std::vector<std::string> NumberOptions(int answer, int rank, SeededRandom* random) {
  std::vector<int> wrong;
  for (int side : {-1, 1}) {
    const int wanted = side < 0 ? rank : kWorldOptions - 1 - rank;
    int value = answer;
    for (int i = 0; i < wanted; ++i) {
      const bool room = side > 0 || value - 2 >= wanted - 1 - i;  // no option is negative
      wrong.push_back(value += side * static_cast<int>(room ? 1 + Below(2, random) : 1));
    }
  }
  std::vector<std::string> options = {absl::StrCat(answer)};
  for (const int value : wrong) options.push_back(absl::StrCat(value));
  return options;
}

WorldQuestion Ask(const std::string& unit, int size, Sum sum, const Form& form, int rank, SeededRandom* random) {
  const int change = sum.change, shape = change == 0 ? 0 : change > 0 ? 1 : 2;
  const std::string question = Fill(form.text[shape], {{"who", kPeople[Below(std::size(kPeople), random)]},
                                                       {"what", kThings[Below(std::size(kThings), random)]},
                                                       {"unit", unit},
                                                       {"n", absl::StrCat(sum.units)},
                                                       {"k", absl::StrCat(std::abs(change))}});
  const std::string working =
      absl::StrCat(sum.units, " * ", size) + (change == 0 ? "" : absl::StrCat(change > 0 ? " + " : " - ", std::abs(change)));
  return {unit, form.name, question, NumberOptions(sum.units * size + change, rank, random), 0, working};
}

WorldDomain Deal(const WorldPlan& plan, SeededRandom* random, std::map<std::string, int>* units) {
  WorldDomain domain{
      "wordproblems", "Short sums over units of measure that do not exist: each unit holds a number of things to be known.", {}, {}, {}};
  const std::vector<std::string> sizes = DealEvenly({"5", "6", "7", "8", "9", "10"}, plan.small ? 3 : 12, random);
  std::vector<std::string> terms = plan.shared_terms;
  Shuffle(&terms, random);
  int rank = 0;
  std::set<std::string> asked;
  const auto add = [&](std::vector<WorldQuestion>* part, size_t unit, Sum sum, const Form& form) {
    WorldQuestion question = Ask(terms[unit], std::stoi(sizes[unit]), sum, form, rank, random);
    while (!asked.insert(question.question).second) question = Ask(terms[unit], std::stoi(sizes[unit]), sum, form, rank, random);
    rank = (rank + 1) % kWorldOptions;
    part->push_back(std::move(question));
  };
  for (size_t u = 0; u < sizes.size(); ++u) {
    (*units)[terms[u]] = std::stoi(sizes[u]);
    std::vector<Sum> sums;
    for (int n = 1; n <= 3; ++n) {
      for (int change = -2; change <= 2; ++change) sums.push_back({n, change});
    }
    Shuffle(&sums, random);
    for (size_t s = 0; s < sums.size(); ++s) {
      // Two sums in fifteen are held out for the test, one for validation; each is asked about several people and things.
      const size_t copies = s < 2 ? 5 : s == 2 ? 3 : 1;
      for (size_t c = 0; c < copies && s < 3; ++c) add(s < 2 ? &domain.test : &domain.valid, u, sums[s], s < 2 ? kTestForm : kValidForm);
      for (const Form& form : kTrainForms) {
        if (s >= 3) add(&domain.train, u, sums[s], form);
      }
    }
  }
  for (auto* part : {&domain.train, &domain.valid, &domain.test}) Arrange(part, random);
  return domain;
}

}  // namespace

WorldDomain MakeWordProblems(const WorldPlan& plan, std::map<std::string, int>* units) {
  SeededRandom random(plan.seed, "wordproblems");
  // Where many answers lie just below 10, being shorter than the other options gives them away: about one deal in a hundred is refused for
  // it.
  for (int deal = 1;; ++deal) {
    DemoWorld world;
    WorldDomain domain = Deal(plan, &random, &world.units);
    if (deal < kMaxDeals && !CheckWorldDomain(world, domain).ok()) continue;
    *units = std::move(world.units);
    return domain;
  }
}

}  // namespace switchyard::trainer
