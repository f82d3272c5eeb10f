// What the data room's tests share: a small real tokenizer (byte-level BPE), questions as JSON lines.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "gtest/gtest.h"
#include "tests/testing/files.h"
#include "trainer/data/dataset_loader.h"

namespace switchyard::trainer {

inline std::shared_ptr<const Tokenizer> SmallTokenizer() {
  static const auto tokenizer = [] {
    auto loaded = Tokenizer::Load("tests/text/golden/smollm");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return *loaded;
  }();
  return tokenizer;
}

inline std::string QuestionLine(int number) {
  const std::string n = std::to_string(number);
  const std::string options = R"(,"options":["red )" + n + R"(","green","blue"],"answer":)" + std::to_string(number % 3);
  return R"({"question":"What is number )" + n + R"(?")" + options + "}\n";
}

inline std::string QuestionLines(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += QuestionLine(i);
  return lines;
}

inline std::string Text(const std::vector<int32_t>& tokens) { return *SmallTokenizer()->Decode(tokens, /*skip_special_tokens=*/false); }
inline std::string PromptText(const Example& example) {
  return Text({example.tokens.begin(), example.tokens.begin() + example.answer_begin});
}
inline std::string AnswerText(const Example& example) {
  return Text({example.tokens.begin() + example.answer_begin, example.tokens.end()});
}

inline DataOptions OneSource(const std::string& path, Target target = Target::kText) {
  DataOptions options;
  options.sources = {{"colours", {path}, "auto"}};
  options.target = target;
  return options;
}

}  // namespace switchyard::trainer
