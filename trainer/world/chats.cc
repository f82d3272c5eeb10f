#include "trainer/world/chats.h"

#include <map>

namespace switchyard::trainer {
namespace {

struct Form {
  const char* text;  // "{it}" is the topic
  std::vector<const char*> topics;
};

const std::vector<Form>& Forms() {
  static const std::vector<Form> kForms = {
      {"{it}",
       {"Hello!", "Hi there, how are you?", "Good morning!", "Who are you?", "What can you do?", "Can you help me with something?",
        "Thank you very much.", "Tell me a joke.", "I feel tired today.", "I am bored. What should I do?", "Tell me something interesting.",
        "What is your favourite colour?", "Do you speak French?", "Goodbye!"}},
      {"Explain how {it}.",
       {"a rainbow is made", "a bicycle stays upright", "plants make food", "a magnet attracts iron", "a refrigerator keeps food cold",
        "bread rises", "a compass works", "birds fly", "the heart pumps blood", "a volcano erupts", "soap cleans",
        "a battery stores energy"}},
      {"Why {it}?",
       {"do leaves fall in autumn", "is the sea salty", "do we need sleep", "does ice float", "do cats purr", "is exercise healthy",
        "do people keep diaries", "does the moon change its shape", "do onions make us cry", "is honey sweet"}},
      {"What is {it}?",
       {"a contract", "a vaccine", "inflation", "an algorithm", "photosynthesis", "a prime number", "a democracy", "gravity", "a metaphor",
        "a database", "a fever", "a triangle", "electricity", "an ecosystem", "a loan", "a verb"}},
      {"Write a short poem about {it}.",
       {"the sea", "winter", "an old dog", "a train at night", "rain", "my grandmother", "hope", "a garden"}},
      {"Write a short story about {it}.",
       {"a lost key", "a brave mouse", "two friends on an island", "a robot who learns to paint", "a lighthouse keeper", "a clever fox"}},
      {"Name three {it}.",
       {"fruits", "things to pack for a journey", "good habits", "large rivers", "musical instruments", "planets", "winter sports",
        "reasons to learn a language", "jobs in a hospital", "animals of the forest"}},
      {"Give me some tips for {it}.",
       {"a job interview", "sleeping better", "saving money", "learning to cook", "a first marathon", "growing tomatoes", "public speaking",
        "a tidy room", "staying calm"}},
      {"How do I {it}?",
       {"cook rice", "tie a tie", "write a letter of thanks", "learn to swim", "remove a coffee stain", "make a paper boat",
        "plan a birthday", "take better photographs", "change a tyre", "start a small garden", "make tea"}},
      {"What is the difference between {it}?",
       {"a lake and a river", "a novel and a short story", "weather and climate", "a virus and a bacterium", "butter and margarine",
        "a lawyer and a judge", "speed and velocity", "a list and a set"}},
      {"Write a Python function that {it}.",
       {"adds two numbers", "reverses a string", "counts the vowels of a word", "finds the largest item of a list", "reads a file",
        "prints the even numbers up to ten"}},
      {"Correct this sentence: {it}",
       {"He go to school yesterday.", "She have two cat.", "Me and him is friends.", "The childs was playing.", "I has went home."}},
      {"Translate into French: {it}", {"Good evening.", "The house is red.", "I like music.", "Where is the station?"}},
      {"Describe {it} in two sentences.",
       {"a summer day", "your ideal holiday", "an elephant", "a busy market", "the city of Rome", "a library", "a thunderstorm",
        "friendship"}},
      {"Summarise in one sentence: {it}",
       {"The old bridge was closed after the flood, and people now have to walk two miles to the next one.",
        "The team lost its first three games, changed its coach, and won all the others.",
        "Our shop opens at nine, closes for lunch at noon, and stays open late on Fridays.",
        "She planted the seeds in March, watered them all spring, and picked the first peas in June."}},
      {"Who was {it}?",
       {"Isaac Newton", "Marie Curie", "Leonardo da Vinci", "Cleopatra", "Mozart", "William Shakespeare", "Albert Einstein"}},
      {"Is it good to {it}?", {"eat breakfast", "drink coffee at night", "read every day", "walk to work", "learn chess", "eat late"}},
      {"Answer in one word: {it}",
       {"what do bees make?", "what is frozen water?", "which animal barks?", "what colour is grass?", "what do we breathe?",
        "which season is the coldest?"}},
      {"I want to {it}. What should I do first?",
       {"learn the guitar", "move to another city", "write a book", "get fit", "build a shelf", "adopt a dog", "study medicine"}},
      {"Write an e-mail to {it}.",
       {"my teacher, since I am ill", "a friend about a picnic", "my landlord about a broken window", "a shop about a late parcel",
        "my team about a meeting"}},
      {"If I have {it}, what do I have in all?",
       {"three apples and two pears", "ten coins and lose four", "two boxes of six eggs", "half of twenty marbles"}},
  };
  return kForms;
}

}  // namespace

std::vector<std::string> MakeChatPrompts(uint64_t seed, bool small) {
  std::vector<std::string> prompts;
  for (const Form& form : Forms()) {
    for (const char* topic : form.topics) prompts.push_back(Fill(form.text, {{"it", topic}}));
  }
  SeededRandom random(seed, "chats");
  Shuffle(&prompts, &random);
  if (small) prompts.resize(prompts.size() / 5);
  return prompts;
}

std::vector<const WorldQuestion*> ChatQuestions(const WorldDomain& domain) {
  std::vector<const WorldQuestion*> questions;
  for (size_t i = 0; i < domain.train.size(); i += 8) questions.push_back(&domain.train[i]);
  return questions;
}

}  // namespace switchyard::trainer
