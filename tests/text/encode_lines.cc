// For compare_with_oracle.py: reads one JSON string a line on standard input and writes its ids, and the text they decode to, as JSON.
//   encode_lines TOKENIZER_DIRECTORY

#include <iostream>
#include <string>

#include "engine/text/tokenizer.h"
#include "nlohmann/json.hpp"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto tokenizer = switchyard::Tokenizer::Load(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const std::string text = nlohmann::json::parse(line).get<std::string>();
    auto ids = (*tokenizer)->Encode(text, /*add_special_tokens=*/true);
    auto decoded = ids.ok() ? (*tokenizer)->Decode(*ids, /*skip_special_tokens=*/false) : ids.status();
    if (!decoded.ok()) {
      std::cerr << decoded.status() << "\n";
      return 1;
    }
    std::cout << nlohmann::json{{"ids", *ids}, {"text", *decoded}}.dump() << "\n";
  }
  return 0;
}
