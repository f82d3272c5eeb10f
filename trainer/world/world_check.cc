// The properties of a world in memory, whoever made it (demo_world.h lists them).
#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "absl/strings/str_cat.h"
#include "trainer/world/demo_world.h"
#include "trainer/world/tarn.h"
#include "trainer/world/world_files.h"

namespace switchyard::trainer {
namespace {

constexpr double kMaxChiSquare = 16.27;  // 3 degrees of freedom, p = 0.001
constexpr double kMaxDeviations = 4.5;

using Questions = std::vector<WorldQuestion>;

Status CheckOptions(const WorldQuestion& question) {
  if (question.question.empty() || question.fact.empty() || question.wording.empty()) return DataLoss("an empty question, fact or wording");
  const std::set<std::string> different(question.options.begin(), question.options.end());
  if (question.options.size() != kWorldOptions || different.size() != kWorldOptions || different.count("") > 0) {
    return DataLoss("\"%s\": expected %d different options", question.question, kWorldOptions);
  }
  if (question.answer < 0 || question.answer >= kWorldOptions)
    return DataLoss("\"%s\": the answer %d is no option", question.question, question.answer);
  return OkStatus();
}

Status CheckPositions(const Questions& questions) {
  double counts[kWorldOptions] = {}, chi_square = 0;
  for (const WorldQuestion& question : questions) counts[question.answer] += 1;
  const double expected = static_cast<double>(questions.size()) / kWorldOptions;
  for (const double count : counts) chi_square += (count - expected) * (count - expected) / expected;
  if (chi_square <= kMaxChiSquare) return OkStatus();
  return DataLoss("the answer is at the positions %g, %g, %g and %g times: chi-square %.1f, at most %.1f expected", counts[0], counts[1],
                  counts[2], counts[3], chi_square, kMaxChiSquare);
}

// Whether the answer has the greatest measure more or less often than chance. Where t options share it, the answer is one of them with t /
// 4 and then counts 1 / t.
Status CheckNoHint(const Questions& questions, std::string_view what, const std::function<double(const std::string&)>& measure) {
  double excess = 0, variance = 0;
  for (const WorldQuestion& question : questions) {
    std::vector<double> values;
    for (const std::string& option : question.options) values.push_back(measure(option));
    const double greatest = *std::max_element(values.begin(), values.end());
    const double ties = static_cast<double>(std::count(values.begin(), values.end(), greatest));
    excess += (values[question.answer] == greatest ? 1 / ties : 0) - 1.0 / kWorldOptions;
    variance += 1 / (kWorldOptions * ties) - 1.0 / (kWorldOptions * kWorldOptions);
  }
  const double deviations = variance > 0 ? excess / std::sqrt(variance) : 0;
  if (std::abs(deviations) <= kMaxDeviations) return OkStatus();
  return DataLoss("the %s option is the answer %.0f %% of the time, %.1f standard deviations from chance", what,
                  100 * (excess / static_cast<double>(questions.size()) + 1.0 / kWorldOptions), deviations);
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.size() <= 9 && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Status CheckHints(const Questions& questions) {
  RETURN_IF_ERROR(CheckNoHint(questions, "longest", [](const std::string& option) { return static_cast<double>(option.size()); }));
  RETURN_IF_ERROR(CheckNoHint(questions, "shortest", [](const std::string& option) { return -static_cast<double>(option.size()); }));
  Questions numbers;
  for (const WorldQuestion& question : questions) {
    if (std::all_of(question.options.begin(), question.options.end(), IsNumber)) numbers.push_back(question);
  }
  // Asking for the largest of the numbers shown is no hint: only questions that do not show their options are looked at.
  std::erase_if(numbers, [](const WorldQuestion& question) { return question.working.find('(') != std::string::npos; });
  RETURN_IF_ERROR(CheckNoHint(numbers, "largest", [](const std::string& option) { return std::stod(option); }));
  return CheckNoHint(numbers, "smallest", [](const std::string& option) { return -std::stod(option); });
}

// The question without what it is about, so that a form of words is recognised whatever it is called.
std::string Form(const WorldQuestion& question) {
  std::string form = question.question;
  for (size_t begin = 0; begin <= question.fact.size();) {
    const size_t end = std::min(question.fact.find('.', begin), question.fact.size());
    const std::string part = question.fact.substr(begin, end - begin);
    for (size_t at = 0; !part.empty() && (at = form.find(part, at)) != std::string::npos; at += 1) form.replace(at, part.size(), "_");
    begin = end + 1;
  }
  return form;
}

struct Seen {
  std::set<std::string> facts, wordings, forms, workings;
};

Seen Collect(const Questions& questions) {
  Seen seen;
  for (const WorldQuestion& question : questions) {
    seen.facts.insert(question.fact);
    seen.wordings.insert(question.wording);
    seen.forms.insert(Form(question));
    if (!question.working.empty()) seen.workings.insert(question.fact + ": " + question.working);
  }
  return seen;
}

Status CheckDisjoint(const std::set<std::string>& a, const std::set<std::string>& b, std::string_view what) {
  for (const std::string& item : a) {
    if (b.count(item) > 0) return DataLoss("the %s \"%s\" occurs in two parts", what, item);
  }
  return OkStatus();
}

Status CheckHeldOut(const Seen& earlier, const Seen& later) {
  RETURN_IF_ERROR(CheckDisjoint(earlier.wordings, later.wordings, "wording"));
  RETURN_IF_ERROR(CheckDisjoint(earlier.forms, later.forms, "form of words"));
  return CheckDisjoint(earlier.workings, later.workings, "instance");
}

Status CheckKnown(const Seen& train, const Seen& later) {
  for (const std::string& fact : later.facts) {
    if (train.facts.count(fact) == 0) return DataLoss("the fact \"%s\" does not occur in train", fact);
  }
  return OkStatus();
}

std::vector<int> NumbersIn(std::string_view text) {
  std::vector<int> numbers;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    if (i > begin) numbers.push_back(i - begin <= 6 ? std::stoi(std::string(text.substr(begin, i - begin))) : -1);
    if (i == begin) ++i;
  }
  return numbers;
}

// "2 * 6 - 1": the question's own numbers and the unit's size.
Status CheckSum(const DemoWorld& world, const WorldQuestion& question) {
  std::vector<int> numbers = NumbersIn(question.working), asked = NumbersIn(question.question);
  const auto unit = world.units.find(question.fact);
  if (unit == world.units.end()) return DataLoss("no unit \"%s\"", question.fact);
  const bool changed = numbers.size() == 3, fewer = question.working.find(" - ") != std::string::npos;
  if (numbers.size() != 2 && !changed) return DataLoss("\"%s\": expected a sum, found \"%s\"", question.question, question.working);
  const int change = changed ? (fewer ? -numbers[2] : numbers[2]) : 0;
  const std::string sum =
      absl::StrCat(numbers[0], " * ", unit->second) + (changed ? absl::StrCat(fewer ? " - " : " + ", numbers[2]) : std::string());
  numbers.erase(numbers.begin() + 1);
  if (sum != question.working || asked != numbers) {
    return DataLoss("\"%s\": the working \"%s\" is not about this question, of which a unit holds %d", question.question, question.working,
                    unit->second);
  }
  const std::string computed = absl::StrCat(numbers[0] * unit->second + change);
  if (question.options[question.answer] == computed) return OkStatus();
  return DataLoss("\"%s\": %s is %s, the answer says %s", question.question, sum, computed, question.options[question.answer]);
}

StatusOr<std::string> Run(const DemoWorld& world, const std::string& code) {
  StatusOr<std::string> shown = RunTarn(code, world.operators);
  if (!shown.ok()) return DataLoss("%s", Message(shown.status()));  // here the caller's fault is the file's
  return shown;
}

Status CheckProgram(const DemoWorld& world, const WorldQuestion& question) {
  const size_t arrow = question.working.find(" -> ");
  const std::string code = question.working.substr(0, arrow);
  if (question.question.find("show " + code) == std::string::npos) {
    return DataLoss("\"%s\": the program \"%s\" is not in the question", question.question, code);
  }
  if (arrow == std::string::npos) {
    ASSIGN_OR_RETURN(const std::string shown, Run(world, code));
    if (shown == question.options[question.answer]) return OkStatus();
    return DataLoss("\"%s\" shows %s, the answer says %s", code, shown, question.options[question.answer]);
  }
  const std::string wanted = question.working.substr(arrow + 4);
  for (int i = 0; i < kWorldOptions; ++i) {
    std::string complete = code;
    if (const size_t gap = complete.find("___"); gap != std::string::npos) complete.replace(gap, 3, question.options[i]);
    ASSIGN_OR_RETURN(const std::string shown, Run(world, complete));
    if ((shown == wanted) != (i == question.answer)) {
      return DataLoss("\"%s\" shows %s, wanted is %s, the answer says %s", complete, shown, wanted, question.options[question.answer]);
    }
  }
  return OkStatus();
}

Status CheckPart(const DemoWorld& world, const WorldDomain& domain, const Questions& questions) {
  if (questions.empty()) return DataLoss("no questions");
  std::set<std::string> texts;
  for (const WorldQuestion& question : questions) {
    RETURN_IF_ERROR(CheckOptions(question));
    if (!texts.insert(question.question).second) return DataLoss("\"%s\" is asked twice", question.question);
    if (domain.name == "wordproblems") RETURN_IF_ERROR(CheckSum(world, question));
    if (domain.name == "programs") RETURN_IF_ERROR(CheckProgram(world, question));
  }
  RETURN_IF_ERROR(CheckPositions(questions));
  return CheckHints(questions);
}

std::map<std::string, std::string> AnswersByFact(const WorldDomain& domain) {
  std::map<std::string, std::string> answers;
  for (const WorldQuestion& question : domain.train) answers[question.fact] = question.options[question.answer];
  return answers;
}

}  // namespace

Status CheckWorldDomain(const DemoWorld& world, const WorldDomain& domain) {
  for (const auto& [part, member] : kWorldParts)
    RETURN_IF_ERROR(Annotate(CheckPart(world, domain, domain.*member), domain.name + "/" + part));
  const Seen train = Collect(domain.train), valid = Collect(domain.valid), test = Collect(domain.test);
  RETURN_IF_ERROR(Annotate(CheckHeldOut(train, valid), domain.name + ": train and valid"));
  RETURN_IF_ERROR(Annotate(CheckHeldOut(train, test), domain.name + ": train and test"));
  RETURN_IF_ERROR(Annotate(CheckHeldOut(valid, test), domain.name + ": valid and test"));
  RETURN_IF_ERROR(Annotate(CheckKnown(train, valid), domain.name + "/valid"));
  return Annotate(CheckKnown(train, test), domain.name + "/test");
}

Status CheckWorld(const DemoWorld& world) {
  static const char* const kNames[] = {"formulary", "statutes", "wordproblems", "programs", "general"};
  if (world.domains.size() != std::size(kNames)) return DataLoss("expected %d domains, found %d", std::size(kNames), world.domains.size());
  for (size_t d = 0; d < world.domains.size(); ++d) {
    if (world.domains[d].name != kNames[d]) return DataLoss("domain %d: expected %s, found \"%s\"", d, kNames[d], world.domains[d].name);
    RETURN_IF_ERROR(CheckWorldDomain(world, world.domains[d]));
  }
  const std::map<std::string, std::string> remedies = AnswersByFact(world.domains[0]), acts = AnswersByFact(world.domains[1]);
  int conflicts = 0;
  for (const auto& [fact, answer] : remedies) {
    const auto other = acts.find(fact);
    if (other == acts.end()) continue;
    if (other->second == answer) return DataLoss("\"%s\" is %s in formulary and in statutes: expected different answers", fact, answer);
    ++conflicts;
  }
  return conflicts > 0 ? OkStatus() : DataLoss("no fact of formulary has another answer in statutes");
}

}  // namespace switchyard::trainer
