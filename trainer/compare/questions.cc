#include "trainer/compare/questions.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>

#include "engine/text/lm_eval_split.h"
#include "trainer/data/seeded_order.h"

namespace switchyard::trainer {
namespace {

StatusOr<std::vector<ScoreItem>> ItemsAfter(const std::string& prompt, const std::vector<std::string>& continuations,
                                            const QuestionOptions& options, const Tokenizer& tokenizer) {
  ASSIGN_OR_RETURN(const LmEvalContext context, PrepareLmEval(tokenizer, prompt, options.prefix_token));
  std::vector<ScoreItem> items;
  for (const std::string& continuation : continuations) {
    ASSIGN_OR_RETURN(LmEvalSplit split, SplitLmEval(tokenizer, context, continuation));
    ScoreItem item{.tokens = std::move(split.context), .score_from = 0};
    item.score_from = static_cast<int32_t>(item.tokens.size());
    item.tokens.insert(item.tokens.end(), split.continuation.begin(), split.continuation.end());
    if (static_cast<int64_t>(item.tokens.size()) > options.max_tokens) return OutOfRange("longer than %d tokens", options.max_tokens);
    items.push_back(std::move(item));
  }
  return items;
}

StatusOr<Question> Prepare(const McqQuestion& from, const QuestionOptions& options, const Tokenizer& tokenizer) {
  Question question;
  question.answer = from.answer;
  std::vector<std::string> texts, letters;
  for (size_t i = 0; i < from.options.size(); ++i) {
    texts.push_back(" " + from.options[i]);
    letters.push_back(std::string(" ") + static_cast<char>('A' + i));
    const std::string& text = from.options[i];  // trimmed when it was read
    question.bytes.push_back(static_cast<int64_t>(text.size()));
    question.characters.push_back(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  }
  ASSIGN_OR_RETURN(question.text, ItemsAfter(RenderPrompt(options.templates.text, from), texts, options, tokenizer));
  if (options.with_prior) {
    ASSIGN_OR_RETURN(question.prior, ItemsAfter(options.templates.unconditional, texts, options, tokenizer));
  }
  if (options.with_letter) {
    ASSIGN_OR_RETURN(question.letter, ItemsAfter(RenderPrompt(options.templates.letter, from), letters, options, tokenizer));
  }
  return question;
}

StatusOr<QuestionSet> ReadSet(const std::string& source, const QuestionOptions& options, const Tokenizer& tokenizer) {
  const size_t equals = source.find('=');
  const std::string path = equals == std::string::npos ? source : source.substr(equals + 1);
  QuestionSet set;
  set.name = equals == std::string::npos ? std::filesystem::path(path).stem().string() : source.substr(0, equals);
  const auto read = ReadMcqFiles({path}, McqFormat::kAuto);
  if (!read.ok()) return Annotate(read.status(), set.name);
  set.left_out = read->bad;
  const auto wanted = static_cast<size_t>(options.max_records);
  for (const int64_t index : SeededOrder(static_cast<int64_t>(read->questions.size()), options.seed, set.name)) {
    if (wanted > 0 && set.questions.size() == wanted) break;
    const McqQuestion& from = read->questions[static_cast<size_t>(index)];
    auto question = Prepare(from, options, tokenizer);
    if (question.ok()) {
      set.questions.push_back(*std::move(question));
    } else {
      set.left_out.push_back({from.file, from.line, std::string(Message(question.status()))});
    }
  }
  if (set.questions.empty()) return InvalidArgument("--data %s: no usable question (%d left out)", source, set.left_out.size());
  return set;
}

}  // namespace

StatusOr<std::vector<QuestionSet>> ReadQuestions(const QuestionOptions& options, const Tokenizer& tokenizer) {
  std::vector<QuestionSet> sets;
  std::set<std::string> names;
  for (const std::string& source : options.sources) {
    ASSIGN_OR_RETURN(QuestionSet set, ReadSet(source, options, tokenizer));
    if (!names.insert(set.name).second) return InvalidArgument("--data %s: the domain %s is there already", source, set.name);
    sets.push_back(std::move(set));
  }
  return sets;
}

}  // namespace switchyard::trainer
