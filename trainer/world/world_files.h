// What the writer and the reader of a demonstration world agree on.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainer/world/world.h"

namespace switchyard::trainer {

inline constexpr char kWorldFormat[] = "switchyard-demo-world";
inline constexpr int64_t kWorldVersion = 2;  // grows when the same seed gives other questions
inline constexpr std::pair<const char*, std::vector<WorldQuestion> WorldDomain::*> kWorldParts[] = {
    {"train", &WorldDomain::train}, {"valid", &WorldDomain::valid}, {"test", &WorldDomain::test}};

inline constexpr char kWorldChats[] = "chats";  // the part beside these in all domains but the general one
inline constexpr char kWorldChatRequests[] = "chats.jsonl";

}  // namespace switchyard::trainer
