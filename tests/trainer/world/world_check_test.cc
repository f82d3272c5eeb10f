// The check of a world must notice whatever would make a measurement on it mean less.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "trainer/world/demo_world.h"

namespace switchyard::trainer {
namespace {

using ::testing::HasSubstr;

constexpr int kFormulary = 0, kStatutes = 1, kWordProblems = 2, kPrograms = 3, kGeneral = 4;

// What CheckWorld says of the small world of seed 1 after the change.
std::string Complaint(const std::function<void(DemoWorld*)>& change) {
  DemoWorld world = MakeDemoWorld(1, /*small=*/true);
  change(&world);
  const Status status = CheckWorld(world);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  return std::string(Message(status));
}

void PutAnswerAt(WorldQuestion* question, int position) {
  std::swap(question->options[question->answer], question->options[position]);
  question->answer = position;
}

WorldQuestion& FirstWith(std::vector<WorldQuestion>* questions, std::string_view in_working) {
  return *std::find_if(questions->begin(), questions->end(),
                       [&](const WorldQuestion& question) { return question.working.find(in_working) != std::string::npos; });
}

TEST(WorldCheck, AcceptsTheWorldsOfManySeeds) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    for (const bool small : {false, true}) EXPECT_EQ(CheckWorld(MakeDemoWorld(seed, small)), OkStatus()) << seed << " " << small;
  }
}

TEST(WorldCheck, NoticesUnbalancedPositions) {
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                for (WorldQuestion& question : world->domains[kFormulary].train) PutAnswerAt(&question, 2);
              }),
              HasSubstr("formulary/train: the answer is at the positions 0, 0, 96 and 0 times"));
}

TEST(WorldCheck, NoticesAnswersGivenAwayByTheirLength) {
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                for (WorldQuestion& question : world->domains[kStatutes].train) question.options[question.answer] += " of the realm";
              }),
              HasSubstr("statutes/train: the longest option is the answer 100 % of the time"));
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                for (WorldQuestion& question : world->domains[kStatutes].test) {
                  for (int i = 0; i < kWorldOptions; ++i) question.options[i] += i == question.answer ? "" : " of the realm and beyond";
                }
              }),
              HasSubstr("statutes/test: the "));
}

TEST(WorldCheck, NoticesTheLargestNumberAlwaysRight) {
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                for (WorldQuestion& question : world->domains[kWordProblems].train) {
                  const int answer = std::stoi(question.options[question.answer]);
                  for (int i = 0, below = 0; i < kWorldOptions; ++i) {
                    if (i != question.answer) question.options[i] = std::to_string(answer >= 10 ? 99 - below++ : -(below++) + answer - 1);
                  }
                }
              }),
              HasSubstr("wordproblems/train: the "));
}

TEST(WorldCheck, NoticesOptionsThatAreNotFourDifferentOnes) {
  EXPECT_THAT(
      Complaint([](DemoWorld* world) { world->domains[kGeneral].test[0].options[1] = world->domains[kGeneral].test[0].options[2]; }),
      HasSubstr("expected 4 different options"));
  EXPECT_THAT(Complaint([](DemoWorld* world) { world->domains[kGeneral].test[0].options.pop_back(); }),
              HasSubstr("expected 4 different options"));
  EXPECT_THAT(Complaint([](DemoWorld* world) { world->domains[kGeneral].test[0].answer = 4; }), HasSubstr("the answer 4 is no option"));
}

TEST(WorldCheck, NoticesSharedWordings) {
  EXPECT_THAT(Complaint([](DemoWorld* world) { world->domains[kFormulary].test[0].wording = world->domains[kFormulary].train[0].wording; }),
              HasSubstr("formulary: train and test: the wording \""));
}

TEST(WorldCheck, NoticesAFormOfTrainUnderAnotherName) {
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                // The first remedy of test is asked about in the words in which train asks about another one.
                WorldQuestion& test = world->domains[kFormulary].test[0];
                const std::string term = test.fact.substr(0, test.fact.find('.')), attribute = test.fact.substr(test.fact.find('.'));
                for (const WorldQuestion& train : world->domains[kFormulary].train) {
                  const std::string other = train.fact.substr(0, train.fact.find('.'));
                  if (other == term || train.fact != other + attribute) continue;
                  test.question = train.question;
                  test.question.replace(test.question.find(other), other.size(), term);
                  return;
                }
              }),
              HasSubstr("formulary: train and test: the form of words \""));
}

TEST(WorldCheck, NoticesFactsThatTrainDoesNotTeach) {
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                const std::string fact = world->domains[kStatutes].test[0].fact;
                for (WorldQuestion& question : world->domains[kStatutes].train) {
                  if (question.fact == fact) question.fact = "someone.else";
                }
              }),
              HasSubstr("does not occur in train"));
}

TEST(WorldCheck, NoticesARepeatedQuestion) {
  EXPECT_THAT(Complaint([](DemoWorld* world) { world->domains[kGeneral].train[0] = world->domains[kGeneral].train[1]; }),
              HasSubstr("is asked twice"));
}

TEST(WorldCheck, NoticesWrongSums) {
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                WorldQuestion& question = world->domains[kWordProblems].test[0];
                question.answer = (question.answer + 1) % kWorldOptions;
              }),
              HasSubstr(", the answer says "));
  EXPECT_THAT(Complaint([](DemoWorld* world) { ++world->units.begin()->second; }), HasSubstr("is not about this question"));
  EXPECT_THAT(Complaint([](DemoWorld* world) { world->domains[kWordProblems].test[0].working.clear(); }), HasSubstr("expected a sum"));
}

TEST(WorldCheck, NoticesAnInstanceOfTrainInTest) {
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                // All of test's sums of one unit are moved to a unit and numbers of train, the wording kept: only the instance repeats.
                WorldDomain& domain = world->domains[kWordProblems];
                const WorldQuestion& test = domain.test[0];
                WorldQuestion taught = test;
                taught.wording = "train-9";
                taught.question = "Somebody wrote: " + test.question;
                domain.train.push_back(taught);
              }),
              HasSubstr("wordproblems: train and test: the instance \""));
}

TEST(WorldCheck, RunsEveryProgramAgain) {
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                WorldQuestion& question = FirstWith(&world->domains[kPrograms].test, "(");
                question.answer = (question.answer + 1) % kWorldOptions;
              }),
              HasSubstr("the answer says "));
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                WorldQuestion& question = FirstWith(&world->domains[kPrograms].test, "___");
                question.answer = (question.answer + 1) % kWorldOptions;
              }),
              HasSubstr("the answer says "));
  EXPECT_THAT(Complaint([](DemoWorld* world) { FirstWith(&world->domains[kPrograms].test, "(").question = "What is printed?"; }),
              HasSubstr("is not in the question"));
  EXPECT_THAT(Complaint([](DemoWorld* world) { world->operators.erase(world->operators.begin()); }), HasSubstr("no operator"));
}

TEST(WorldCheck, NoticesASharedTermWithoutAConflict) {
  EXPECT_THAT(Complaint([](DemoWorld* world) {
                const WorldQuestion remedy =
                    *std::find_if(world->domains[kFormulary].train.begin(), world->domains[kFormulary].train.end(), [&](const auto& q) {
                      return std::any_of(world->domains[kStatutes].train.begin(), world->domains[kStatutes].train.end(),
                                         [&](const auto& act) { return act.fact == q.fact; });
                    });
                // The conflicting answer is always offered, so it can be declared the right one.
                for (auto* part : {&world->domains[kStatutes].train, &world->domains[kStatutes].valid, &world->domains[kStatutes].test}) {
                  for (WorldQuestion& question : *part) {
                    if (question.fact != remedy.fact) continue;
                    const auto same = std::find(question.options.begin(), question.options.end(), remedy.options[remedy.answer]);
                    ASSERT_NE(same, question.options.end());
                    std::swap(*same, question.options[question.answer]);
                  }
                }
              }),
              HasSubstr("expected different answers"));
}

TEST(WorldCheck, NoticesMissingDomains) {
  EXPECT_THAT(Complaint([](DemoWorld* world) { world->domains.pop_back(); }), HasSubstr("expected 5 domains, found 4"));
  EXPECT_THAT(Complaint([](DemoWorld* world) { world->domains[kGeneral].valid.clear(); }), HasSubstr("general/valid: no questions"));
}

}  // namespace
}  // namespace switchyard::trainer
