#include "trainer/data/dataset_builder.h"

#include <algorithm>
#include <utility>

#include "engine/artifact/sha256.h"
#include "engine/mcq/dense2moe_prompt.h"
#include "engine/text/lm_eval_split.h"

namespace switchyard::trainer {
namespace {

void HashNumber(uint64_t value, Sha256* hash) {
  char bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  hash->Update(std::string_view(bytes, sizeof(bytes)));
}

std::string Fingerprint(const Dataset& dataset) {
  Sha256 hash;
  HashNumber(dataset.domains.size(), &hash);
  for (const std::string& domain : dataset.domains) {
    HashNumber(domain.size(), &hash);
    hash.Update(domain);
  }
  for (const Example& example : dataset.examples) {
    HashNumber(static_cast<uint64_t>(example.domain), &hash);
    HashNumber(static_cast<uint64_t>(example.answer_begin), &hash);
    HashNumber(example.tokens.size(), &hash);
    for (const int32_t token : example.tokens) HashNumber(static_cast<uint64_t>(token), &hash);
  }
  return hash.Hex();
}

}  // namespace

std::string RecordKey(const Record& record) {
  if (!record.turns.empty()) {
    std::string key;
    for (const ChatTurn& turn : record.turns) key += turn.role + "\n" + turn.content + "\n\n";
    return key;
  }
  if (!record.question) return record.prompt;
  return record.question->context + "\n\n" + record.question->question;
}

int32_t DatasetBuilder::Domain(const std::string& name) {
  const auto found = std::find(dataset_.domains.begin(), dataset_.domains.end(), name);
  if (found == dataset_.domains.end()) {
    dataset_.domains.push_back(name);
    return static_cast<int32_t>(dataset_.domains.size()) - 1;
  }
  return static_cast<int32_t>(found - dataset_.domains.begin());
}

Status DatasetBuilder::Add(const Record& record, int32_t domain) {
  if (!record.turns.empty()) return AddChat(record, domain);
  if (!record.question) return AddExample(record, record.prompt, record.answer, options_.append_eos.value_or(true), domain);
  const McqQuestion& question = *record.question;
  const bool eos = options_.append_eos.value_or(false);
  if (options_.target == Target::kDense2Moe) {
    return AddExample(record, Dense2MoePrompt(question), Dense2MoeTarget(question), eos, domain);
  }
  if (options_.target != Target::kLetter) {
    const std::string answer = " " + question.options[question.answer];
    RETURN_IF_ERROR(AddExample(record, RenderPrompt(options_.templates.text, question), answer, eos, domain));
  }
  if (options_.target != Target::kText) {
    const std::string answer = {' ', static_cast<char>('A' + question.answer)};
    RETURN_IF_ERROR(AddExample(record, RenderPrompt(options_.templates.letter, question), answer, eos, domain));
  }
  return OkStatus();
}

Status DatasetBuilder::AddExample(const Record& record, const std::string& prompt, const std::string& answer, bool append_eos,
                                  int32_t domain) {
  const auto prefix = options_.bos_token ? options_.bos_token : options_.eos_token;
  const StatusOr<LmEvalContext> context = PrepareLmEval(tokenizer_, prompt, prefix);
  StatusOr<LmEvalSplit> split = context.ok() ? SplitLmEval(tokenizer_, *context, answer) : context.status();
  if (split.status().code() == absl::StatusCode::kInvalidArgument) {
    dataset_.bad.push_back({record.file, record.line, std::string(Message(split.status()))});
    return OkStatus();
  }
  RETURN_IF_ERROR(split.status());
  if (append_eos) {
    if (!options_.eos_token) return FailedPrecondition("answers are to end in EOS, and this model names none; set append_eos to false");
    split->continuation.push_back(*options_.eos_token);
  }
  AddTokens(record, std::move(split->context), split->continuation, domain);
  return OkStatus();
}

// Prompt and answer are tokenised apart, as they are when the server generates: its prompt ends where the template's does. What the
// template puts behind the answer (the end of the turn, without the line break that some write after it) is learned with it.
Status DatasetBuilder::AddChat(const Record& record, int32_t domain) {
  const auto bad = [&](std::string_view reason) {
    AddBad({record.file, record.line, std::string(reason)});
    return OkStatus();
  };
  if (options_.chat_template == nullptr) return bad("a chat, and this model has no chat template");
  std::vector<ChatTurn> turns = record.turns;
  const StatusOr<std::string> prompt = options_.chat_template->Render(turns, /*add_generation_prompt=*/true);
  if (!prompt.ok()) return bad(Message(prompt.status()));
  turns.push_back({"assistant", record.answer});
  const StatusOr<std::string> whole = options_.chat_template->Render(turns, /*add_generation_prompt=*/false);
  if (!whole.ok()) return bad(Message(whole.status()));
  if (!std::string_view(*whole).starts_with(*prompt)) return bad("the chat template does not write an answered chat as prompt and answer");
  std::string answer = options_.append_eos.value_or(true) ? whole->substr(prompt->size()) : record.answer;
  while (!answer.empty() && (answer.back() == '\n' || answer.back() == ' ')) answer.pop_back();
  StatusOr<std::vector<int32_t>> context = tokenizer_.Encode(*prompt, /*add_special_tokens=*/false);
  if (!context.ok()) return bad(Message(context.status()));
  const StatusOr<std::vector<int32_t>> continuation = tokenizer_.Encode(answer, /*add_special_tokens=*/false);
  if (!continuation.ok()) return bad(Message(continuation.status()));
  if (context->empty() || continuation->empty()) return bad("the chat template leaves no token of the prompt or of the answer");
  AddTokens(record, *std::move(context), *continuation, domain);
  return OkStatus();
}

void DatasetBuilder::AddTokens(const Record& record, std::vector<int32_t> context, const std::vector<int32_t>& answer, int32_t domain) {
  const auto length = static_cast<int64_t>(context.size() + answer.size());
  if (length > options_.max_tokens) {
    ++dataset_.over_long;
    return AddBad({record.file, record.line, absl::StrFormat("%d tokens, the limit is %d", length, options_.max_tokens)});
  }
  Example example;
  example.tokens = std::move(context);
  example.answer_begin = static_cast<int32_t>(example.tokens.size());
  example.tokens.insert(example.tokens.end(), answer.begin(), answer.end());
  example.domain = domain;
  dataset_.examples.push_back(std::move(example));
}

Dataset DatasetBuilder::Finish() {
  dataset_.fingerprint = Fingerprint(dataset_);
  return std::move(dataset_);
}

}  // namespace switchyard::trainer
