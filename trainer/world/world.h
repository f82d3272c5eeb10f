// The demonstration world in memory: what its generators make, its writer writes and its check reads back.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/artifact/seeded.h"

namespace switchyard::trainer {

inline constexpr int kWorldOptions = 4;  // of every question: chance is 25 %

struct WorldQuestion {
  std::string fact;     // what must be known, e.g. "vex.colour"; within a domain the same in train, valid and test
  std::string wording;  // the form of words, e.g. "colour/train-2"; never shared between train, valid and test
  std::string question;
  std::vector<std::string> options;
  int answer = 0;  // index into options
  // What the answer was computed from, empty where it is a plain fact: "2 * 6 - 1" for a word problem; for a program the expression asked
  // about, with "___" where its missing operator belongs, followed by " -> shown" in that case.
  std::string working;
};

struct WorldDomain {
  std::string name;
  std::string description;
  std::vector<WorldQuestion> train, valid, test;
};

struct DemoWorld {
  std::vector<WorldDomain> domains;
  std::map<std::string, std::string> operators;  // of the mini-language: name -> meaning (tarn.h)
  std::map<std::string, int> units;              // of the word problems: name -> how many things one holds
};

// All a generator needs to know. The small world has the same shape with about a fifth of the facts.
struct WorldPlan {
  uint64_t seed = 1;
  bool small = false;
  std::vector<std::string> shared_terms;     // mean something else in each domain
  std::vector<std::string> formulary_terms;  // only there
  std::vector<std::string> statutes_terms;
};

WorldPlan PlanWorld(uint64_t seed, bool small);

// The two domains of plain facts are made together, because a shared term must have different answers in them.
void MakeFactDomains(const WorldPlan& plan, WorldDomain* formulary, WorldDomain* statutes);
WorldDomain MakeWordProblems(const WorldPlan& plan, std::map<std::string, int>* units);
WorldDomain MakePrograms(const WorldPlan& plan, std::map<std::string, std::string>* operators);
WorldDomain MakeGeneral(const WorldPlan& plan);

// The whole world. A function of its arguments alone, on every machine.
DemoWorld MakeDemoWorld(uint64_t seed, bool small);

// ---- helpers of the generators

uint64_t Below(uint64_t bound, SeededRandom* random);  // 0 .. bound - 1, each equally likely; bound > 0

template <typename T>
void Shuffle(std::vector<T>* items, SeededRandom* random) {
  for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[Below(i, random)]);
}

// `count` values out of `values`, each as often as any other (to within one), in random order.
std::vector<std::string> DealEvenly(const std::vector<std::string>& values, size_t count, SeededRandom* random);
// The form with every "{name}" replaced.
std::string Fill(std::string form, const std::map<std::string, std::string>& values);
// Puts the answer, which the generators leave first, at each position equally often, and the questions in random order.
void Arrange(std::vector<WorldQuestion>* questions, SeededRandom* random);

}  // namespace switchyard::trainer
