// Chats beside a world's questions: what teaches routers that a chat is not an examination.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/world/world.h"

namespace switchyard::trainer {

// About 190 first messages of everyday chats, all different, in an order drawn from the seed; the small world has a fifth. They have no
// answers here: what the base model answers is the right one, since such chats are to stay with the base.
std::vector<std::string> MakeChatPrompts(uint64_t seed, bool small);

// The training questions of a domain that are asked in a chat as well: every eighth.
std::vector<const WorldQuestion*> ChatQuestions(const WorldDomain& domain);

}  // namespace switchyard::trainer
