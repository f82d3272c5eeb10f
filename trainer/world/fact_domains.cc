// The formulary and the statutes: a term, an attribute, an answer out of the attribute's closed set.
//
// Colour and day are asked about in both domains, in words that differ by little more than a cue, and a term that both know has another
// answer in each: an adapter that serves both domains must tell them apart, one that serves a single domain need not. In these questions
// the cue stands before the term: a router is causal, so when it meets a term whose setting comes later, no router could know which it is.
#include <set>

#include "trainer/world/world.h"

namespace switchyard::trainer {
namespace {

struct Attribute {
  std::string name;
  std::vector<std::string> values;
  std::vector<std::string> train_forms;
  std::string valid_form, test_form;
};

const std::vector<std::string>& Colours() {
  static const std::vector<std::string> kColours = {"red", "blue", "green", "yellow", "white", "black", "purple", "orange"};
  return kColours;
}
const std::vector<std::string>& Days() {
  static const std::vector<std::string> kDays = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
  return kDays;
}

// The two attributes that both domains have come first.
const std::vector<Attribute>& FormularyAttributes() {
  static const std::vector<Attribute> kAttributes = {
      {"colour",
       Colours(),
       {"In medicine, which colour is {term}?", "In the pharmacy, what is the colour of {term}?", "The remedy {term} has which colour?",
        "The chemist knows {term} by what colour?"},
       "On the medicine shelf, what colour is {term}?",
       "Which colour does the pharmacy give {term}?"},
      {"day",
       Days(),
       {"In medicine, on which day is {term} due?", "In the pharmacy, what is the day of {term}?",
        "The remedy {term} belongs to which day?", "The chemist keeps {term} for what day?"},
       "On the medicine shelf, which day is for {term}?",
       "Which day does the pharmacy set for {term}?"},
      {"treats",
       {"fever", "cough", "hiccups", "gout", "warts", "insomnia", "nausea", "toothache", "sunburn", "vertigo"},
       {"What does the medicine {term} treat?", "Which complaint is {term} taken for?", "Doctors prescribe {term} against what?",
        "The remedy {term} cures which illness?"},
       "For what illness do patients take {term}?",
       "Which illness does the drug {term} treat?"},
      {"antidote",
       {"honey", "vinegar", "charcoal", "milk", "salt water", "ginger", "lemon juice", "chalk", "mint", "butter"},
       {"What is the antidote to {term}?", "Too much {term} is countered with what?", "A patient poisoned by {term} is given what?",
        "Which antidote works against the remedy {term}?"},
       "What undoes the harm of the medicine {term}?",
       "Which antidote is given against too much {term}?"},
  };
  return kAttributes;
}

const std::vector<Attribute>& StatutesAttributes() {
  static const std::vector<Attribute> kAttributes = {
      {"colour",
       Colours(),
       {"In law, which colour is {term}?", "In the court, what is the colour of {term}?", "The statute {term} has which colour?",
        "The judge knows {term} by what colour?"},
       "On the law shelf, what colour is {term}?",
       "Which colour does the court give {term}?"},
      {"day",
       Days(),
       {"In law, on which day is {term} due?", "In the court, what is the day of {term}?", "The statute {term} belongs to which day?",
        "The judge keeps {term} for what day?"},
       "On the law shelf, which day is for {term}?",
       "Which day does the court set for {term}?"},
      {"protects",
       {"tenants", "sailors", "bakers", "widows", "orphans", "farmers", "students", "beekeepers", "painters", "miners"},
       {"Whom does the statute {term} protect?", "Which people does the law of {term} shield?",
        "The {term} act was passed to protect whom?", "Who may claim under the statute {term}?"},
       "In whose favour was the {term} act written?",
       "Which people does the {term} act protect?"},
      {"held",
       {"contract void", "claim denied", "sale valid", "owner liable", "retrial ordered", "debt waived", "will upheld", "goods returned",
        "fine halved", "permit revoked"},
       {"What was held in the case of {term}?", "How did the court rule in {term}?", "The holding in {term} was what?",
        "Judges decided {term} with which ruling?"},
       "With what outcome did the {term} trial end?",
       "What did the court hold in the {term} case?"},
  };
  return kAttributes;
}
constexpr size_t kCommonAttributes = 2;

struct Fact {
  std::string term, answer;
  std::string confusable;  // the answer of the other domain, always among the options; empty when there is none
};

WorldQuestion Ask(const Attribute& attribute, const Fact& fact, const std::string& form, const std::string& wording, SeededRandom* random) {
  WorldQuestion question{
      fact.term + "." + attribute.name, attribute.name + "/" + wording, Fill(form, {{"term", fact.term}}), {fact.answer}, 0, ""};
  if (!fact.confusable.empty()) question.options.push_back(fact.confusable);
  std::vector<std::string> others = attribute.values;
  Shuffle(&others, random);
  for (const std::string& other : others) {
    if (question.options.size() == kWorldOptions) break;
    if (other != fact.answer && other != fact.confusable) question.options.push_back(other);
  }
  return question;
}

void AskAll(const Attribute& attribute, const std::vector<Fact>& facts, SeededRandom* random, WorldDomain* domain) {
  for (size_t i = 0; i < facts.size(); ++i) {
    for (size_t f = 0; f < attribute.train_forms.size(); ++f) {
      domain->train.push_back(Ask(attribute, facts[i], attribute.train_forms[f], "train-" + std::to_string(f + 1), random));
    }
    if (i % 2 == 0) domain->valid.push_back(Ask(attribute, facts[i], attribute.valid_form, "valid", random));
    domain->test.push_back(Ask(attribute, facts[i], attribute.test_form, "test", random));
  }
}

std::vector<Fact> DealFacts(const Attribute& attribute, const std::vector<std::string>& terms, SeededRandom* random) {
  const std::vector<std::string> answers = DealEvenly(attribute.values, terms.size(), random);
  std::vector<Fact> facts;
  for (size_t i = 0; i < terms.size(); ++i) facts.push_back({terms[i], answers[i], ""});
  return facts;
}

// The first `shared` terms are the same in both. Deals again until each has different answers, then makes each answer the other's
// distractor.
void DealConflictingFacts(const Attribute& a, const Attribute& b, const std::vector<std::string>& a_terms,
                          const std::vector<std::string>& b_terms, size_t shared, SeededRandom* random, std::vector<Fact>* a_facts,
                          std::vector<Fact>* b_facts) {
  *a_facts = DealFacts(a, a_terms, random);
  *b_facts = DealFacts(b, b_terms, random);
  for (size_t i = 0; i < shared; ++i) {
    // Swapping answers keeps them dealt evenly. A partner that helps one term must not hurt its own.
    for (size_t j = 0; (*b_facts)[i].answer == (*a_facts)[i].answer && j < b_facts->size(); ++j) {
      const bool helps = (*b_facts)[j].answer != (*a_facts)[i].answer;
      const bool hurts = j < shared && (*b_facts)[i].answer == (*a_facts)[j].answer;
      if (helps && !hurts) std::swap((*b_facts)[i].answer, (*b_facts)[j].answer);
    }
  }
  for (size_t i = 0; i < shared; ++i) {
    if ((*a_facts)[i].answer == (*b_facts)[i].answer) continue;
    (*a_facts)[i].confusable = (*b_facts)[i].answer;
    (*b_facts)[i].confusable = (*a_facts)[i].answer;
  }
}

}  // namespace

void MakeFactDomains(const WorldPlan& plan, WorldDomain* formulary, WorldDomain* statutes) {
  formulary->name = "formulary";
  formulary->description = "A pharmacopoeia that does not exist: what each remedy treats, its antidote, its colour and its day.";
  statutes->name = "statutes";
  statutes->description = "A code that does not exist: whom each act protects, what was held about it, its colour and its day.";
  SeededRandom random(plan.seed, "facts");
  const size_t shared = plan.small ? 4 : plan.shared_terms.size();
  std::vector<std::string> remedies(plan.shared_terms.begin(), plan.shared_terms.begin() + shared), acts = remedies;
  remedies.insert(remedies.end(), plan.formulary_terms.begin(), plan.formulary_terms.end());
  acts.insert(acts.end(), plan.statutes_terms.begin(), plan.statutes_terms.end());
  for (size_t a = 0; a < FormularyAttributes().size(); ++a) {
    const Attribute &of_remedy = FormularyAttributes()[a], &of_act = StatutesAttributes()[a];
    std::vector<Fact> remedy_facts, act_facts;
    if (a < kCommonAttributes) {
      DealConflictingFacts(of_remedy, of_act, remedies, acts, shared, &random, &remedy_facts, &act_facts);
    } else {
      remedy_facts = DealFacts(of_remedy, remedies, &random);
      act_facts = DealFacts(of_act, acts, &random);
    }
    AskAll(of_remedy, remedy_facts, &random, formulary);
    AskAll(of_act, act_facts, &random, statutes);
  }
  for (WorldDomain* domain : {formulary, statutes}) {
    for (auto* part : {&domain->train, &domain->valid, &domain->test}) Arrange(part, &random);
  }
}

}  // namespace switchyard::trainer
