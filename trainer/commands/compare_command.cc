// switchyard-trainer compare: methods against one another on one base and one set of questions, through the engine that serves.
#include <cstdio>
#include <filesystem>
#include <memory>

#include "engine/mcq/prompt_template.h"
#include "trainer/commands/common.h"
#include "trainer/compare/comparison.h"
#include "trainer/compare/comparison_json.h"
#include "trainer/compare/tables.h"

namespace switchyard::trainer {

namespace {

struct Flags {
  CompareOptions options;
  std::vector<std::string> experts, methods, checkpoints, ablations;
  std::string judge = "sum", template_file;
  bool pmi = false, letter = false, quiet = false;
};

StatusOr<std::vector<NamedList>> Lists(const char* option, const std::vector<std::string>& texts) {
  std::vector<NamedList> lists;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(NamedList list, ParseNamedList(option, text));
    lists.push_back(std::move(list));
  }
  return lists;
}

Status RunCompare(Flags& flags) {
  CompareOptions& options = flags.options;
  ASSIGN_OR_RETURN(options.experts, Lists("--expert", flags.experts));
  ASSIGN_OR_RETURN(options.checkpoints, Lists("--checkpoints", flags.checkpoints));
  ASSIGN_OR_RETURN(options.ablations, Lists("--ablation", flags.ablations));
  for (const std::string& text : flags.methods) {
    ASSIGN_OR_RETURN(MethodSpec method, ParseMethod(text));
    options.methods.push_back(std::move(method));
  }
  ASSIGN_OR_RETURN(options.judge, ParseJudge(flags.judge));
  if (!flags.template_file.empty()) {
    ASSIGN_OR_RETURN(options.questions.templates, ReadTemplates(flags.template_file));
  }
  options.questions.with_prior = flags.pmi || options.judge == kJudgePmi;
  options.questions.with_letter = flags.letter || options.judge == kJudgeLetter;
  if (std::filesystem::exists(options.out_directory))
    return AlreadyExists("--out %s is there already: choose another name or remove it", options.out_directory);
  ASSIGN_OR_RETURN(const Comparison comparison, Compare(options, [&](const std::string& line) {
                     if (!flags.quiet) std::fprintf(stderr, "%s\n", line.c_str());
                   }));
  ASSIGN_OR_RETURN(const std::vector<std::string> files, WriteComparison(comparison, options.out_directory));
  std::printf("%s", ComparisonMarkdown(comparison).c_str());
  for (const SetSummary& set : comparison.sets) {
    if (set.left_out.empty()) continue;
    constexpr size_t kShown = 10;
    std::fprintf(stderr, "%s: %zu records left out; all of them are named in the JSON\n", set.name.c_str(), set.left_out.size());
    for (size_t i = 0; i < std::min(kShown, set.left_out.size()); ++i) {
      const BadRecord& bad = set.left_out[i];
      std::fprintf(stderr, "  %s:%lld: %s\n", bad.file.c_str(), static_cast<long long>(bad.line), bad.reason.c_str());
    }
  }
  for (const std::string& file : files) {
    if (!flags.quiet) std::fprintf(stderr, "wrote %s\n", file.c_str());
  }
  return OkStatus();
}

}  // namespace

void AddCompareCommand(CLI::App& app, Status* result) {
  auto flags = std::make_shared<Flags>();
  CompareOptions& options = flags->options;
  CLI::App* command = app.add_subcommand("compare", "Tables and plots of several routing methods: accuracy, routing figures, cost");
  command->add_option("--base", options.base_directory, "Hugging Face directory of the base model")->required();
  command->add_option("--out", options.out_directory, "directory for tables and plots; must not exist")->required();
  command->add_option("--method", flags->methods, "NAME=ROUTER[,ROUTER...][:K] (several: a seed each), or base, random, oracle")
      ->required();
  command->add_option("--expert", flags->experts,
                      "NAME=DIRECTORY: a PEFT expert; a name may come twice, routers say by hash which one they mean");
  command
      ->add_option("--data", options.questions.sources,
                   "[DOMAIN=]PATH of questions; a domain of an expert's name is that expert's for the oracle")
      ->required();
  command->add_option("--checkpoints", flags->checkpoints,
                      "NAME=ROUTER,ROUTER[,...] in the order of training: consistency of method NAME over them");
  command->add_option("--ablation", flags->ablations, "FULL=METHOD[,METHOD...]: methods that lack one part of FULL");
  command->add_option("--judge", flags->judge, "of the accuracy table: sum, token, char, byte, pmi or letter")->capture_default_str();
  command->add_flag("--pmi", flags->pmi, "ask for the pmi judge as well");
  command->add_flag("--letter", flags->letter, "ask for the letter judge as well");
  command->add_option("--template", flags->template_file, "prompt template, as of 'switchyard score'");
  command->add_option("--max-records", options.questions.max_records, "questions of each domain, drawn by the seed; 0: all")
      ->capture_default_str();
  command->add_option("--max-tokens", options.questions.max_tokens, "questions with a longer option are left out, and counted")
      ->capture_default_str();
  command->add_option("--seed", options.questions.seed, "of the questions and of the random router")->capture_default_str();
  command->add_option("--dtype", options.dtype, "auto, bf16 or f32")->capture_default_str();
  command->add_option("--threads", options.threads, "0: the number of cores")->capture_default_str();
  command->add_option("--probability-tokens", options.probability_tokens, "of the Gram figures")->capture_default_str();
  command->add_option("--batch-tokens", options.report.batch_rows, "of the batch form of MaxVio")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--prefill-tokens", options.timing.prefill_tokens)->capture_default_str();
  command->add_option("--decode-steps", options.timing.decode_steps)->capture_default_str();
  command->add_option("--rounds", options.timing.rounds, "times every method is timed, taking turns")->capture_default_str();
  command->add_flag("--quiet", flags->quiet, "no progress");
  command->callback([flags, result] { *result = RunCompare(*flags); });
}

}  // namespace switchyard::trainer
