// Programs in Tarn (tarn.h), each run by its interpreter: what does it show, and which operator makes it show this.
//
// Train, valid and test share the operators; their lists of words and their forms of words differ.
#include <set>

#include "absl/strings/str_cat.h"
#include "trainer/world/tarn.h"
#include "trainer/world/world.h"

namespace switchyard::trainer {
namespace {

const std::vector<std::string>& Words() {
  static const std::vector<std::string> kWords = {"red",  "cat",  "box",  "hat",  "sun",  "key",  "dog",  "cup",
                                                  "tree", "fish", "lamp", "bird", "milk", "ring", "boat", "star",
                                                  "shoe", "leaf", "door", "bell", "corn", "frog", "hand", "moon"};
  return kWords;
}

// "{code}" is the expression, "{shown}" what it shows.
struct Forms {
  std::vector<std::string> train;
  std::string valid, test;
};
const Forms& ShowForms() {
  static const Forms kForms = {{"What does the program show {code} print?", "Run this code: show {code}. What appears?",
                                "The line show {code} prints which word?", "What is the output of show {code}?"},
                               "Which word does the computer print for show {code}?",
                               "What is printed by the program show {code}?"};
  return kForms;
}
const Forms& CompleteForms() {
  static const Forms kForms = {
      {"Which operator makes the program show {code} print {shown}?",
       "Complete the code show {code} so that it prints {shown}. What is missing?", "To print {shown}, what goes into show {code}?",
       "The output of show {code} is {shown}. What is the operator?"},
      "Name the operator that lets show {code} print {shown}.",
      "Which operator completes show {code} so that {shown} is printed?"};
  return kForms;
}

// One kind of question: `outer` picks a word out of the list, `inner` (or nothing) changes the list before.
struct Skill {
  std::string name, outer, inner;
  bool complete = false;
};

class ProgramMaker {
 public:
  ProgramMaker(const TarnOperators& operators, SeededRandom* random) : operators_(operators), random_(random) {}

  WorldQuestion Make(const Skill& skill, const Forms& forms, const std::string& part, size_t form_index) {
    const std::string& form = part == "valid" ? forms.valid : part == "test" ? forms.test : forms.train[form_index];
    const std::string wording =
        absl::StrCat(skill.complete ? "complete/" : "show/", part, part == "train" ? absl::StrCat("-", form_index + 1) : std::string());
    const std::vector<std::string> words = FreshList(skill);
    std::string list;
    for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
    const auto code = [&](const std::string& outer) {
      return skill.inner.empty() ? outer + "(" + list + ")" : outer + "(" + skill.inner + "(" + list + "))";
    };
    // The programs are made here, so the interpreter accepts them.
    const std::string shown = RunTarn(code(skill.outer), operators_).value();
    WorldQuestion question{skill.name, wording, "", {skill.complete ? skill.outer : shown}, 0, code(skill.complete ? "___" : skill.outer)};
    question.question = Fill(form, {{"code", question.working}, {"shown", shown}});
    if (skill.complete) {
      question.working += " -> " + shown;
      AddOperators(code, &question.options);
    } else {
      for (const std::string& word : words) {
        if (word != shown) question.options.push_back(word);
      }
    }
    return question;
  }

 private:
  bool OfNumbers(const Skill& skill) const {
    const std::string& meaning = operators_.at(skill.outer);
    return meaning == "largest" || meaning == "smallest";
  }

  // Four different words, or four different digits, that no other program of this world has in this order.
  std::vector<std::string> FreshList(const Skill& skill) {
    std::vector<std::string> pool = OfNumbers(skill) ? std::vector<std::string>{"1", "2", "3", "4", "5", "6", "7", "8", "9"} : Words();
    do {
      Shuffle(&pool, random_);
    } while (!used_.insert({pool.begin(), pool.begin() + kWorldOptions}).second);
    pool.resize(kWorldOptions);
    return pool;
  }

  // Three operators that show something else each.
  template <typename Code>
  void AddOperators(const Code& code, std::vector<std::string>* options) {
    std::set<std::string> seen = {RunTarn(code(options->front()), operators_).value()};
    std::vector<std::string> names;
    for (const auto& [name, meaning] : operators_) {
      if (meaning == "first" || meaning == "second" || meaning == "third" || meaning == "last") names.push_back(name);
    }
    Shuffle(&names, random_);
    for (const std::string& name : names) {
      if (options->size() < kWorldOptions && seen.insert(RunTarn(code(name), operators_).value()).second) options->push_back(name);
    }
  }

  const TarnOperators& operators_;
  SeededRandom* random_;
  std::set<std::vector<std::string>> used_;
};

std::vector<Skill> Skills(const TarnOperators& operators) {
  std::vector<Skill> skills;
  for (const auto& [name, meaning] : operators) {
    if (meaning == "reverse" || meaning == "rotate") continue;
    skills.push_back({name, name, "", false});
    if (meaning == "largest" || meaning == "smallest") continue;
    skills.push_back({"complete." + name, name, "", true});
    for (const auto& [inner, change] : operators) {
      if (change == "reverse" || change == "rotate") skills.push_back({name + "." + inner, name, inner, false});
    }
  }
  return skills;
}

}  // namespace

WorldDomain MakePrograms(const WorldPlan& plan, std::map<std::string, std::string>* operators) {
  WorldDomain domain{"programs",
                     "Programs in Tarn, a mini-language that does not exist, run by its interpreter: what is shown, what is missing.",
                     {},
                     {},
                     {}};
  SeededRandom random(plan.seed, "programs");
  std::vector<std::string> meanings = {"first", "second", "third", "last", "reverse"};
  if (!plan.small) meanings.insert(meanings.end(), {"first", "second", "third", "last", "rotate", "largest", "smallest"});
  std::vector<std::string> names = plan.shared_terms;
  Shuffle(&names, &random);
  for (size_t i = 0; i < meanings.size(); ++i) (*operators)[names[i]] = meanings[i];

  ProgramMaker maker(*operators, &random);
  for (const Skill& skill : Skills(*operators)) {
    const Forms& forms = skill.complete ? CompleteForms() : ShowForms();
    const bool simple = skill.inner.empty() && !skill.complete;  // what the others build on: asked about more often
    for (int round = 0; round < (simple ? 6 : 2); ++round) {
      for (size_t form = 0; form < forms.train.size(); ++form) domain.train.push_back(maker.Make(skill, forms, "train", form));
    }
    for (int i = 0; i < 2; ++i) domain.valid.push_back(maker.Make(skill, forms, "valid", 0));
    for (int i = 0; i < (simple ? 6 : 3); ++i) domain.test.push_back(maker.Make(skill, forms, "test", 0));
  }
  for (auto* part : {&domain.train, &domain.valid, &domain.test}) Arrange(part, &random);
  return domain;
}

}  // namespace switchyard::trainer
